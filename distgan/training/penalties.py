"""Gradient penalties on D: R1 and R2 (Mescheder et al. 2018, arXiv:1801.04406), WGAN-GP (Gulrajani et al. 2017,
arXiv:1704.00028), in every update or lazily (Karras et al. 2020, arXiv:1912.04958, section 3.1).

All are taken from one forward over the joined images: fakes, reals and, for WGAN-GP, mixtures of the two. They are
of D's input as it is, after augmentation.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from distgan.config.method import Penalties
from distgan.config.schedule import at

TINY = 1e-12  # under the root: its derivative at 0 is infinite


class Weights(NamedTuple):
    """Factors of the penalties in one update, numbers or scalars on the device; None: the penalty is not taken."""

    r1: float | Tensor | None = None
    r2: float | Tensor | None = None
    mixed: float | Tensor | None = None

    @classmethod
    def of(cls, config: Penalties, update: int, images: int) -> Weights:
        """update: D's updates so far; images: real images that D has been shown."""
        every = config.penalty_every_steps
        if update % every:
            return cls()
        wanted = at(config.r1_gamma, images), at(config.r2_gamma, images), config.gradient_penalty
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


def gradient_penalty(weights: Weights, images: Tensor, logits: Tensor) -> Tensor:
    """gamma / 2 * mean(|dD/dx|^2) of the reals (R1) and the fakes (R2); weight * mean((|dD/dx| - 1)^2) of mixtures.

    images: fakes, reals and, where `mixed` is taken, mixtures, joined: [2B or 3B, C, H, W], requiring grad; logits: [2B
    or 3B]. Returns a scalar that can be differentiated; a plain 0 where no penalty is taken.
    """
    if not any(weights.taken):
        return logits.new_zeros(())
    fakes, reals, *mixtures = squared_gradients(images, logits).chunk(2 if weights.mixed is None else 3)
    total = logits.new_zeros(())
    if weights.r2 is not None:
        total = total + weights.r2 / 2 * fakes.mean()
    if weights.r1 is not None:
        total = total + weights.r1 / 2 * reals.mean()
    if weights.mixed is not None:
        total = total + weights.mixed * ((mixtures[0] + TINY).sqrt() - 1).square().mean()
    return total


def squared_gradients(images: Tensor, logits: Tensor) -> Tensor:
    """|d logit / d image|^2 per image, [B], before any sigmoid. images: [B, C, H, W], requiring grad; logits: [B]."""
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().sum((1, 2, 3))
