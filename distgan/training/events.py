"""What goes wrong while training, told in one sentence where a person looks: terminal, RUN/events.jsonl, W&B alerts."""

from __future__ import annotations

from dataclasses import dataclass

from distgan.training.tracking.progress_bar import ProgressBar
from distgan.training.tracking.tracker import NullTracker, Tracker
from distgan.training.trainer import Trainer


@dataclass(frozen=True)
class Reporter:
    """Only the main process's is heard."""

    display: ProgressBar
    tracker: Tracker | NullTracker
    trainer: Trainer

    def __call__(self, kind: str, text: str, alert: bool = True) -> None:
        """kind: one word for the event; alert: make it a W&B alert as well."""
        self.display.say(f"WARNING: {text}")
        self.tracker.event(self.trainer.images_seen, kind, text, alert)
