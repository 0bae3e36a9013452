"""Messages and metrics of a run: on the terminal, in the files of the tracker, in W&B."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from distgan.training.tracking.backend import TrackerBackend
from distgan.training.tracking.progress_bar import ProgressBar
from distgan.utils.log import log


@dataclass(frozen=True)
class Telemetry:
    """One on every rank; only the main process's writes."""

    display: ProgressBar
    tracker: TrackerBackend
    images_seen: Callable[[], int]
    """Real images that D has been shown now."""
    keep_directory: Callable[[], str] = lambda: ""
    """Makes the run directory again if it was removed; a sentence then. Raises LaunchError if it is another's now."""

    def say(self, text: str) -> None:
        """Writes a line to the terminal."""
        if self.display.enabled:
            log.info("%s", text)

    def warn(self, kind: str, text: str, alert: bool = True) -> None:
        """Reports an event. kind: one word for it; alert: make it a W&B alert as well."""
        if self.display.enabled:
            log.warning("%s", text)
        self.note(kind, text, alert)

    def note(self, kind: str, text: str, alert: bool) -> None:
        """Records an event without a line on the terminal. Arguments as of `warn`."""
        self.tracker.event(self.images_seen(), kind, text, alert)

    def line(self, metrics: dict[str, float]) -> None:
        """Writes a line of metrics."""
        self.tracker.log(self.images_seen(), metrics)
        self.display.log(self.images_seen(), metrics)
