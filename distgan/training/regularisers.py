"""Regularisers of G: pure functions of its images, beside the adversarial loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from distgan.utils.numerics import at_least_float32

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
