"""Gradient penalties on D: R1 and R2 (Mescheder et al. 2018, arXiv:1801.04406), WGAN-GP (Gulrajani et al. 2017,
arXiv:1704.00028), in every update or lazily (Karras et al. 2020, arXiv:1912.04958, section 3.1).

All are taken from one forward over the joined images: fakes, reals and, for WGAN-GP, mixtures of the two. They are
of D's input as it is, after augmentation.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol, cast

import torch
from torch import Tensor

from distgan.config.method import PENALTIES, Penalties, PenaltySettings
from distgan.config.schedule import at
from distgan.config.schema import Config
from distgan.utils.errors import ConfigError

TINY = 1e-12  # under the root: its derivative at 0 is infinite


class Weights(NamedTuple):
    """Factors of the penalties in one update, numbers or scalars on the device; None: the penalty is not taken."""

    r1: float | Tensor | None = None
    r2: float | Tensor | None = None
    mixed: float | Tensor | None = None
    further: float | Tensor | None = None
    """Of the penalty `loss.penalty`."""

    @classmethod
    def of(cls, config: Penalties, update: int, images: int) -> Weights:
        """update: D's updates so far; images: real images that D has been shown."""
        every = config.penalty_every_steps
        if update % every:
            return cls()
        further = at(config.penalty.weight, images)
        wanted = at(config.r1_gamma, images), at(config.r2_gamma, images), config.gradient_penalty, further
        return cls(*(every * weight or None for weight in wanted))

    @property
    def taken(self) -> tuple[bool, ...]:
        return tuple(weight is not None for weight in self)


def mix(joined: Tensor, share: Tensor) -> Tensor:
    """Images on the straight lines between fakes and reals, [B, C, H, W].

    joined: B fakes, then B reals; share: of the real in each, [B] in [0, 1).
    """
    fakes, reals = joined.chunk(2)
    return torch.lerp(fakes, reals, share[:, None, None, None].to(fakes.dtype))


class Penalty(Protocol):
    """One more penalty, from `loss.penalty`."""

    on: Literal["real", "fake", "mixed"]

    def __call__(self, gradients: Tensor, logits: Tensor) -> Tensor:
        """Of each image, [b]. gradients: dD/dx, [b, C, H, W]; logits: [b]."""


class WganLp:
    """Slopes above 1 between reals and fakes, squared (Petzka et al. 2018, arXiv:1709.08894, equation 8)."""

    on: Literal["mixed"] = "mixed"

    def __init__(self, config: PenaltySettings) -> None:
        pass

    def __call__(self, gradients: Tensor, logits: Tensor) -> Tensor:
        return ((_squared(gradients) + TINY).sqrt() - 1).relu().square()


def no_penalty(_config: object) -> None:
    """No further penalty."""


def build_penalty(config: Penalties) -> Penalty | None:
    """The configured further penalty."""
    return cast("Penalty | None", PENALTIES.build(config.penalty))


def kinds_needed(weights: Weights, further: Penalty | None) -> tuple[str, ...]:
    """The kinds of images that D is shown in an update with these penalties: fakes, reals, and mixtures of the two."""
    mixed = weights.mixed is not None or (weights.further is not None and further is not None and further.on == "mixed")
    return ("fake", "real", "mixed") if mixed else ("fake", "real")


def gradient_penalty(
    weights: Weights, images: Tensor, logits: Tensor, kinds: tuple[str, ...], further: Penalty | None = None
) -> Tensor:
    """gamma / 2 * mean(|dD/dx|^2) of the reals (R1) and the fakes (R2); weight * mean((|dD/dx| - 1)^2) of mixtures;
    and the further penalty.

    images: of each kind in `kinds`, joined: [2B or 3B, C, H, W], requiring grad; logits: [2B or 3B]. Returns a scalar
    that can be differentiated; a plain 0 where no penalty is taken.
    """
    total = logits.new_zeros(())
    if not any(weights.taken):
        return total
    gradients = input_gradients(images, logits)
    squared = dict(zip(kinds, _squared(gradients).chunk(len(kinds)), strict=True))
    if weights.r2 is not None:
        total = total + weights.r2 / 2 * squared["fake"].mean()
    if weights.r1 is not None:
        total = total + weights.r1 / 2 * squared["real"].mean()
    if weights.mixed is not None:
        total = total + weights.mixed * ((squared["mixed"] + TINY).sqrt() - 1).square().mean()
    if weights.further is not None and further is not None:
        place, count = kinds.index(further.on), len(kinds)
        total = total + weights.further * further(gradients.chunk(count)[place], logits.chunk(count)[place]).mean()
    return total


def input_gradients(images: Tensor, logits: Tensor) -> Tensor:
    """d logit / d image, [B, C, H, W], before any sigmoid. images: [B, C, H, W], requiring grad; logits: [B]."""
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient


def _squared(gradients: Tensor) -> Tensor:
    """Squared length per image, [B]."""
    return gradients.square().sum((1, 2, 3))


def check_penalties(config: Config, precision: str) -> None:
    """Raises ConfigError for a penalty on gradients in fp16."""
    if precision == "fp16" and (penalties := config.loss.penalised):
        names = ", ".join(penalties)
        raise ConfigError(f"{names} with fp16: the penalty's gradients underflow; use bf16, or {penalties[0]}=0")
