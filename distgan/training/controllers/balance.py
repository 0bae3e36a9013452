"""Keeps D from overwhelming G: the tutorial's advice as a controller with one number of state, the level.

At level 0, D trains as configured. At level n, it learns with lr * lr_factor**n and each of its KeyedDropout drops out
its own probability + n * dropout_step, within their limits. D overwhelms G when D's loss is low, D is right about
nearly all images and G's loss is high; then the level rises by one. When D's accuracy has fallen, the level falls by
one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from distgan.config.schema import BalanceConfig
from distgan.training.checkpoint.storage import State, counter, finite
from distgan.training.controllers.base import Controller

if TYPE_CHECKING:
    from distgan.training.trainer import Trainer


class BalanceController(Controller):
    """Lowers D's learning rate and raises its dropout. Attribute: level, 0 or more.

    Always there, since its level is in every checkpoint; disabled, it never acts.
    """

    watches = ("loss/d", "loss/g", "d/real_accuracy", "d/fake_accuracy")

    def __init__(self, config: BalanceConfig, trainer: Trainer) -> None:
        self.config, self.base_dropout, self.trainer = config, trainer.d_dropout, trainer
        self.layers = [(layer, layer.p) for layer in trainer.d_dropouts]  # each with its own probability
        self.every_steps = config.every_steps if config.enabled else None
        self.level, self.actions = 0, 0
        self.set_level(0)

    def act(self, means: Mapping[str, Tensor]) -> str:
        """Raises or lowers the level by at most one. It waits for the device."""
        on_host = dict(zip(means, torch.stack(list(means.values())).tolist(), strict=True))
        action = next_action(self.config, self.base_dropout, self.level, on_host)
        self.set_level(self.level + action)
        self.actions += action
        if not action:
            return ""
        return (
            f"balance: D {'held back' if action > 0 else 'released'} at step {self.trainer.steps}: level {self.level}, "
            f"learning rate {self.trainer.d_lr:.3g}, dropout {self.trainer.d_dropout:.2f}"
        )

    def set_level(self, level: int) -> None:
        """Applies a level to the trainer."""
        self.level, trainer = level, self.trainer
        trainer.lr_factors["d"]["balance"] = lr_scale(self.config, level)
        trainer.d_dropout = dropout(self.config, self.base_dropout, level)
        for layer, base in self.layers:
            layer.p = dropout(self.config, base, level)

    def line_metrics(self) -> dict[str, float]:
        """balance/action: net number of actions since the last line. Disabled, it has none."""
        if not self.config.enabled:
            return {}
        actions, self.actions = self.actions, 0
        return {
            "balance/lr_scale": self.trainer.lr_factors["d"]["balance"],
            "balance/dropout": self.trainer.d_dropout,
            "balance/action": actions,
        }

    def state(self) -> State:
        return State({}, {"balance_level": self.level, "balance_actions": self.actions})

    def load_state(self, state: State) -> None:
        self.set_level(counter(state.values["balance_level"]))
        self.actions = round(finite(state.values.get("balance_actions")) or 0)  # checkpoints of 0.1.0 do not have it


def lr_scale(config: BalanceConfig, level: int) -> float:
    """Factor on D's learning rate."""
    return max(config.lr_factor**level, config.lr_scale_min)


def dropout(config: BalanceConfig, base: float, level: int) -> float:
    """D's dropout probability; never below the configured one."""
    return max(min(base + level * config.dropout_step, config.dropout_max), base)


def next_action(config: BalanceConfig, base_dropout: float, level: int, means: Mapping[str, float]) -> int:
    """+1: hold D back more; -1: less; 0: neither. means: of the metrics that the balance watches."""
    accuracies = means["d/real_accuracy"], means["d/fake_accuracy"]
    overwhelms = (
        means["loss/d"] < config.d_loss_low
        and min(accuracies) >= config.accuracy_high
        and means["loss/g"] > config.g_loss_high
    )
    if overwhelms:
        return 1 if level < last_level(config, base_dropout) else 0
    return -1 if level and min(accuracies) < config.accuracy_low else 0


def last_level(config: BalanceConfig, base_dropout: float) -> int:
    """Lowest level at which both limits are reached."""
    by_lr = math.ceil(math.log(config.lr_scale_min) / math.log(config.lr_factor) - 1e-9)
    room = max(config.dropout_max - base_dropout, 0.0)
    by_dropout = math.ceil(room / config.dropout_step - 1e-9) if config.dropout_step else 0
    return max(by_lr, by_dropout)
