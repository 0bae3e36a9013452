"""The protocol of a controller."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from distgan.training.checkpoint.storage import State


class Controller:
    """Watches means of metrics and changes one thing of the training. The base does nothing."""

    watches: tuple[str, ...] = ()
    """Metrics of a step (scalars on the device) whose means `act` is given."""
    every_steps: int | None = None
    """Steps of a window; None: it never acts."""

    def act(self, means: Mapping[str, Tensor]) -> str:
        """Acts at the end of a window. Called on every rank; must do the same on each.

        means: over the window and all ranks, scalars on the device; reading one waits for it. Returns a sentence for
        the terminal, or an empty one.
        """
        raise NotImplementedError

    def step_metrics(self) -> dict[str, Tensor]:
        """Metrics of this step, scalars on the device; a line of metrics shows their mean."""
        return {}

    def line_metrics(self) -> dict[str, float]:
        """Metrics as they are when a line is written."""
        return {}

    def state(self) -> State:
        """State for a checkpoint; names start with the controller's own."""
        return State({}, {})

    def load_state(self, state: State) -> None:
        """Takes its part of a checkpoint's state. Raises KeyError, RuntimeError or ValueError if it does not fit."""
