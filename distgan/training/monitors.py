"""What a training remembers beside its networks, all of it part of every checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from distgan.training.checkpoint.storage import State, finite
from distgan.training.early_stopping import EarlyStopping
from distgan.training.meters import RunningMeans
from distgan.training.watchdog import Watchdog


@dataclass
class Monitors:
    """Watchdog, early stopping, and what the next line of metrics will hold."""

    watchdog: Watchdog
    early_stopping: EarlyStopping
    means: RunningMeans = field(default_factory=RunningMeans)
    diversity: float | None = None
    """Of the last samples; None before the first."""
    samples_logit: float | None = None
    """Mean of D's logits of the last samples; None before the first."""
    seconds: float = 0.0
    """Time of the run's training over all its starts, without evaluations."""
    interrupted: bool = False
    """A signal came in the last step: what was due after it is still to be done."""

    def state(self) -> State:
        """For a checkpoint. A collective."""
        memories = {"watchdog": self.watchdog.memory, "best": self.early_stopping.memory}
        values: dict[str, Any] = {name: memory.model_dump(mode="json") for name, memory in memories.items()}
        means = self.means.state()
        values |= {"diversity": self.diversity, "samples_logit": self.samples_logit}
        values |= {"interrupted": self.interrupted, "seconds": self.seconds}
        return State(means.tensors, values | means.values)

    def restore(self, state: State, device: torch.device, same_run: bool = True) -> None:
        """Takes the memories of a checkpoint. Raises CheckpointError if they are damaged.

        device: of the metrics. same_run: else the best evaluation and the line of metrics are another run's, and are
        forgotten.
        """
        self.watchdog.restore(state.values)
        if same_run:
            self.early_stopping.restore(state.values)
            self.means.restore(state, device)
            self.diversity = finite(state.values.get("diversity"))
            self.samples_logit = finite(state.values.get("samples_logit"))
            self.seconds = max(finite(state.values.get("seconds")) or 0.0, self.seconds)  # a rollback's time has passed
            self.interrupted = state.values.get("interrupted") is True
