"""Regularisers of G beside the adversarial loss: pure functions of its images, and what they need of a training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from distgan.config.schema import Config
from distgan.utils.errors import ConfigError
from distgan.utils.numerics import at_least_float32
from distgan.utils.rng import Rows

SAME = 1e-6  # distance of two real images that are one: they ask for no distance of two fakes


def mode_seeking(fakes: Sequence[Tensor], reals: Sequence[Tensor], share: float) -> Tensor:
    """Mean over maps and pairs of max(0, share - distance of two fakes / distance of two reals), a scalar.

    fakes, reals: images, or maps of features of them at several scales, each [b, channels, H, W]; rows 2i and 2i + 1
    are a pair; the fakes of a pair are of one class and of two latents. A distance is a mean absolute difference.
    After Mao et al. 2019 (arXiv:1903.05628), who take an endless ratio to the distance of the latents instead.
    """
    ratios = torch.stack([_apart(fake) / _apart(real).clamp_min(SAME) for fake, real in zip(fakes, reals, strict=True)])
    return (share - ratios).relu().mean()


def _apart(maps: Tensor) -> Tensor:
    """Mean absolute differences of the pairs of [b, channels, H, W], [b / 2], in float32 or higher."""
    one, other = at_least_float32(maps).unflatten(0, (-1, 2)).unbind(1)
    return (one - other).abs().mean((1, 2, 3))


def in_pairs(classes: Tensor) -> Tensor:
    """Classes [b] of which rows 2i + 1 have that of rows 2i."""
    return classes[::2].repeat_interleave(2, output_size=len(classes))


def check_pairs(config: Config, rows: Rows, matched: bool) -> None:
    """Raises ConfigError where loss.mode_seeking finds no pairs of fakes of one class.

    matched: each fake has the class of the real image beside it.
    """
    if not config.loss.mode_seeking.wanted:
        return
    images = len(rows) // config.train.accumulation
    if images % 2:
        raise ConfigError(
            f"loss.mode_seeking compares pairs of fakes, and a process makes {images} at a time; use an even number: "
            "another train.batch_size, or another train.accumulation"
        )
    if matched and config.generator.conditional:
        raise ConfigError(
            "loss.mode_seeking makes two fakes of one class, and this loss gives each fake the class of a real image; "
            "use a loss and a penalty without pairs of fakes and reals, such as loss.name=hinge with loss.r1_gamma"
        )
