"""Gradient penalties on D: R1 and R2 (Mescheder et al. 2018, arXiv:1801.04406), WGAN-GP (Gulrajani et al. 2017,
arXiv:1704.00028), in every update or lazily (Karras et al. 2020, arXiv:1912.04958, section 3.1).

All are taken from one forward over the joined images: fakes, reals and, for WGAN-GP, mixtures of the two. The slopes of
fakes and reals go through the augmentation, to the images before it, as in the code of StyleGAN2-ADA and R3GAN
(`loss.penalty_at`); mixtures are of augmented images.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Literal, NamedTuple, Protocol, cast

import torch
from torch import Tensor

from distgan.config.method import PENALTIES, ModeSeeking, Penalties, PenaltySettings
from distgan.config.schedule import at
from distgan.config.schema import Config
from distgan.networks.layers import verdict
from distgan.utils.errors import ConfigError

TINY = 1e-12  # under the root: its derivative at 0 is infinite


class Weights(NamedTuple):
    """Factors of what one update's loss grows by, numbers or scalars on the device; None: it is not taken."""

    r1: float | Tensor | None = None
    r2: float | Tensor | None = None
    mixed: float | Tensor | None = None
    further: float | Tensor | None = None
    """Of the penalty `loss.penalty`."""
    seeking: float | Tensor | None = None
    """Of mode seeking, which is G's; the others are D's."""

    @classmethod
    def of_d(cls, config: Penalties, update: int, images: int) -> Weights:
        """update: D's updates so far; images: real images that D has been shown."""
        every = config.penalty_every_steps
        if update % every:
            return cls()
        further = at(config.penalty.weight, images)
        wanted = at(config.r1_gamma, images), at(config.r2_gamma, images), config.gradient_penalty, further
        return cls(*(every * weight or None for weight in wanted))

    @classmethod
    def of_g(cls, config: ModeSeeking, images: int) -> Weights:
        """images: real images that D has been shown."""
        return cls(seeking=at(config.weight, images) or None)

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


def slopes_needed(weights: Weights, further: Penalty | None) -> set[str]:
    """The kinds of images, "fake", "real" or "mixed", at which these penalties take D's slope."""
    taken = {"fake": weights.r2, "real": weights.r1, "mixed": weights.mixed}
    if further is not None and weights.further is not None:
        taken[further.on] = weights.further
    return {kind for kind, weight in taken.items() if weight is not None}


def gradient_penalty(
    weights: Weights,
    images: dict[str, Tensor],
    logits: Tensor,
    further: Penalty | None = None,
    signs: Tensor | None = None,
) -> Tensor:
    """gamma / 2 * mean(|dD/dx|^2) of the reals (R1) and the fakes (R2); weight * mean((|dD/dx| - 1)^2) of mixtures;
    and the further penalty.

    images: "fake", "real", perhaps "mixed", what slopes are by, [B, C, H, W] each, requiring grad where one is needed;
    logits: of these in their order, [2B or 3B], or [2B or 3B, heads] with random signs, -1 or 1, of the same shape. R1
    and R2 are the mean over the heads: one gradient, of sum(sign * logit) / sqrt(heads), has this expected square,
    whereas slopes of opposite heads would vanish in their mean's. The other two are of the heads' mean, which is the
    critic of a loss that is linear in the logits.
    Returns a scalar that can be differentiated; a plain 0 where no penalty is taken.
    """
    total, mean = logits.new_zeros(()), verdict(logits)
    slopes = cache(lambda: input_gradients(images, mean))
    if weights.r1 is not None or weights.r2 is not None:
        of_heads = slopes() if signs is None else input_gradients(images, _summed(logits, signs))
        for weight, kind in ((weights.r2, "fake"), (weights.r1, "real")):
            if weight is not None:
                total = total + weight / 2 * _squared(of_heads[kind]).mean()
    if weights.mixed is not None:
        total = total + weights.mixed * ((_squared(slopes()["mixed"]) + TINY).sqrt() - 1).square().mean()
    if weights.further is not None and further is not None:
        of_kinds = dict(zip(images, mean.chunk(len(images)), strict=True))
        values = further(slopes()[further.on], of_kinds[further.on])
        total = total + weights.further * values.mean()
    return total


def _summed(logits: Tensor, signs: Tensor) -> Tensor:
    """sum(sign * logit) / sqrt(heads) of each image, [B]. logits, signs: [B, heads]."""
    return (logits * signs).sum(1) / math.sqrt(logits.shape[1])


def input_gradients(images: dict[str, Tensor], logits: Tensor) -> dict[str, Tensor]:
    """d logit / d image, before any sigmoid, [B, C, H, W] of each kind that requires grad. logits: of all images."""
    asked = {kind: image for kind, image in images.items() if image.requires_grad}
    gradients = torch.autograd.grad(logits.sum(), list(asked.values()), create_graph=True)
    return dict(zip(asked, gradients, strict=True))


def _squared(gradients: Tensor) -> Tensor:
    """Squared length per image, [B]."""
    return gradients.square().sum((1, 2, 3))


def check_penalties(config: Config, precision: str) -> None:
    """Raises ConfigError for a penalty on gradients in fp16."""
    if precision == "fp16" and (penalties := config.loss.penalised):
        names = ", ".join(penalties)
        raise ConfigError(f"{names} with fp16: the penalty's gradients underflow; use bf16, or {penalties[0]}=0")
