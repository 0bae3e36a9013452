"""Watchdog and early stopping of a training; their memories are part of every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distgan.training.early_stopping import EarlyStopping
from distgan.training.watchdog import Watchdog


@dataclass(frozen=True)
class Monitors:
    """Both of them."""

    watchdog: Watchdog
    early_stopping: EarlyStopping

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        memories = {"watchdog": self.watchdog.memory, "best": self.early_stopping.memory}
        return {name: memory.model_dump(mode="json") for name, memory in memories.items()}

    def restore(self, values: Mapping[str, Any], same_run: bool = True) -> None:
        """Takes the memories of a checkpoint. same_run: else the best evaluation is another run's, and is forgotten.

        Raises CheckpointError if they are damaged.
        """
        self.watchdog.restore(values)
        if same_run:
            self.early_stopping.restore(values)
