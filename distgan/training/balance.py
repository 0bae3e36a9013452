"""Keeps D from overwhelming G: the seed document's advice as a controller with one number of state, the level.

Level 0 is the configured game. At level n, D learns with lr * lr_factor**n and drops out dropout + n * dropout_step,
each within its limit. D is said to overwhelm G when D's loss is low, D is right about nearly everything and G's loss is
high; then the level rises by one. When D's accuracy has fallen back, the level sinks by one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from distgan.config.schema import BalanceConfig

WATCHED = ("loss/d", "loss/g", "d/real_accuracy", "d/fake_accuracy")


def lr_scale(config: BalanceConfig, level: int) -> float:
    """What D's learning rate is multiplied by."""
    return max(config.lr_factor**level, config.lr_scale_min)


def dropout(config: BalanceConfig, base: float, level: int) -> float:
    """D's dropout probability; never below the configured one."""
    return max(min(base + level * config.dropout_step, config.dropout_max), base)


def action(config: BalanceConfig, base_dropout: float, level: int, means: Mapping[str, float]) -> int:
    """+1: hold D back more; -1: less; 0: leave it. `means` are over all ranks, of the metrics in WATCHED."""
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
    """The lowest level at which both limits are reached."""
    by_lr = math.ceil(math.log(config.lr_scale_min) / math.log(config.lr_factor) - 1e-9)
    room = max(config.dropout_max - base_dropout, 0.0)
    by_dropout = math.ceil(room / config.dropout_step - 1e-9) if config.dropout_step else 0
    return max(by_lr, by_dropout)
