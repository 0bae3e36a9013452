"""The probability of ADA's transformations: it follows D's accuracy (arXiv:2006.06676) or a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from distgan.config.method import Ada, AugmentConfig
from distgan.config.schedule import at
from distgan.training.augment import next_p
from distgan.training.checkpoint.storage import State
from distgan.training.controllers.base import Controller

if TYPE_CHECKING:
    from distgan.training.trainer import Trainer


def build_ada(augment: AugmentConfig, trainer: Trainer) -> Controller | None:
    """None where the augmentation is not ADA."""
    if not isinstance(augment, Ada):
        return None
    if augment.target is None:
        return AdaSchedule(augment, trainer)
    return AdaController(augment, augment.target, trainer.images_per_step, trainer)


class AdaController(Controller):
    """Raises the probability while D recognises more real images than `target` asks for, and lowers it otherwise."""

    watches = ("d/real_accuracy",)

    def __init__(self, config: Ada, target: float, images_per_step: int, trainer: Trainer) -> None:
        self.every_steps: int = config.every_steps
        self.target, self.speed = target, config.speed_images
        self.images, self.p = config.every_steps * images_per_step, trainer.augment.p

    def act(self, means: Mapping[str, Tensor]) -> str:
        """Moves the probability; nothing waits for the device."""
        mean_sign = 2 * means["d/real_accuracy"].to(self.p) - 1
        self.p.copy_(next_p(self.p, mean_sign, self.target, self.images, self.speed))
        return ""

    def step_metrics(self) -> dict[str, Tensor]:
        return {"augment/p": self.p.clone()}

    def state(self) -> State:
        return State({"augment/p": self.p}, {})

    def load_state(self, state: State) -> None:
        self.p.copy_(state.tensors["augment/p"])


class AdaSchedule(Controller):
    """Sets the probability to its schedule's value after every step."""

    every_steps = 1

    def __init__(self, config: Ada, trainer: Trainer) -> None:
        self.schedule, self.trainer, self.p = config.p, trainer, trainer.augment.p

    def act(self, means: Mapping[str, Tensor]) -> str:
        self.p.fill_(at(self.schedule, self.trainer.images_seen))
        return ""

    def step_metrics(self) -> dict[str, Tensor]:
        return {"augment/p": self.p.clone()}

    def load_state(self, state: State) -> None:
        self.act({})
