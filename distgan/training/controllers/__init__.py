"""Controllers: objects that watch means of the metrics and change one thing of the training.

A controller is one file here and one line in the registry CONTROLLERS (config/choices.py), or comes from outside. The
trainer knows the class `Controller` only.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from distgan.config.choices import CONTROLLERS
from distgan.config.schema import Config
from distgan.distributed.collectives import own_row, rows_of_all
from distgan.training.checkpoint.storage import State, counter
from distgan.training.controllers.base import Controller
from distgan.training.meters import Window
from distgan.utils.errors import ConfigError

if TYPE_CHECKING:
    from distgan.training.trainer import Trainer

LEGACY_WINDOWS = {"balance": ("window", "window_steps")}  # names in a checkpoint from before there were others


class Controllers:
    """All controllers of one training, each with the window over which it sees means."""

    def __init__(self, config: Config, trainer: Trainer) -> None:
        self.by_name: dict[str, Controller] = dict(_built(config, trainer))
        device = trainer.accelerator.device
        self.windows = {name: Window(each.watches, device) for name, each in self.by_name.items() if each.watches}
        self._trainer, self._reports = trainer, list[str]()

    def step(self, metrics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Shows every controller the metrics of a step; those whose window is full act. Returns their own metrics."""
        added = dict[str, Tensor]()
        for name, controller in self.by_name.items():
            if controller.every_steps is not None:
                window = self.windows.get(name)
                if window:
                    try:
                        window.add(metrics)
                    except KeyError as error:
                        raise unknown_metric(name, str(error.args[0]), metrics) from None
                if self._trainer.steps % controller.every_steps == 0:
                    report = controller.act(window.means() if window else {})
                    self._reports += [report] if report else []
            added |= controller.step_metrics()
        return added

    def line_metrics(self) -> dict[str, float]:
        """Values for a line of metrics, as they are now."""
        return {name: value for each in self.by_name.values() for name, value in each.line_metrics().items()}

    def take_reports(self) -> list[str]:
        """What the controllers have done since the last call, a sentence each."""
        reports, self._reports = self._reports, []
        return reports

    def state(self) -> State:
        """All states and windows, for a checkpoint; a window's sums are gathered: [ranks, names]."""
        tensors, values = dict[str, Tensor](), dict[str, object]()
        for name, controller in self.by_name.items():
            own = controller.state()
            if not isinstance(own, State):
                raise ConfigError(
                    f"{name}: state() returns {type(own).__name__}; return distgan.extend.State({{}}, {{...}})"
                )
            prefix = _prefix(name)
            tensors |= {f"{prefix}{key}": value for key, value in own.tensors.items()}
            values |= {f"{prefix}{key}": value for key, value in own.values.items()}
            if window := self.windows.get(name):
                sums, steps = window_names(name)
                tensors[sums] = rows_of_all(window.sums)
                values[steps] = window.steps
        return State(tensors, values)

    def load_state(self, state: State) -> None:
        """Raises KeyError, RuntimeError, TypeError or ValueError if the state does not fit."""
        for name, controller in self.by_name.items():
            if window := self.windows.get(name):
                sums, steps = window_names(name)
                self._load_window(window, state.tensors[sums], state.values[steps])
            controller.load_state(_own_part(state, _prefix(name)))

    def _load_window(self, window: Window, sums: Tensor, steps: object) -> None:
        """sums: [ranks that saved, names]."""
        if sums.shape[1:] != window.sums.shape:
            raise ValueError(f"a window of shape {list(sums.shape)}, not [ranks, {len(window.names)}]")
        window.sums.copy_(own_row(sums))
        window.steps = counter(steps)


def _built(config: Config, trainer: Trainer) -> Iterator[tuple[str, Controller]]:
    """Yields names and controllers: those with a section of their own, if it asks for them, then the further ones."""
    for name, section in (("balance", config.balance), ("augment", config.augment)):
        if (controller := CONTROLLERS.load(name)(section, trainer)) is not None:
            yield name, controller
    for chosen in config.controllers:
        yield chosen.name, CONTROLLERS.build(chosen, trainer)


def unknown_metric(name: str, watched: str, metrics: Mapping[str, object]) -> ConfigError:
    """The error of a controller that watches a metric which no step has."""
    nearest = difflib.get_close_matches(watched, metrics, n=1, cutoff=0)[0]
    return ConfigError(f"{name} watches {watched}, which no step measures; nearest: {nearest}")


def _prefix(name: str) -> str:
    """Before the names of a controller's state in a checkpoint; those of distgan's own have none."""
    return "" if name in CONTROLLERS.entries else f"{name}/"


def _own_part(state: State, prefix: str) -> State:
    """What of a checkpoint's state has this prefix, without it."""
    tensors, values = (
        {key.removeprefix(prefix): value for key, value in part.items() if key.startswith(prefix)} for part in state
    )
    return State(tensors, values)


def window_names(name: str) -> tuple[str, str]:
    """Names in a checkpoint of a window's sums (a tensor) and of its steps (a value)."""
    return LEGACY_WINDOWS.get(name, (f"{name}/window", f"{name}_steps"))
