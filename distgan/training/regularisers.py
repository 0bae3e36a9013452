"""Regularisers of G: pure functions of its images, beside the adversarial loss."""

from __future__ import annotations

from torch import Tensor


def mode_seeking(images: Tensor, distance: float) -> Tensor:
    """Mean over pairs of max(0, distance - mean |difference|), a scalar; 0 once all pairs differ enough.

    images: [b, channels, H, W] in [-1, 1]; rows 2i and 2i + 1 are a pair, of one class and of two latents.
    After Mao et al. 2019 (arXiv:1903.05628), who take an endless ratio of distances instead.
    """
    one, other = images.unflatten(0, (-1, 2)).unbind(1)
    return (distance - (one - other).abs().mean((1, 2, 3))).relu().mean()


def in_pairs(classes: Tensor) -> Tensor:
    """Classes [b] of which rows 2i + 1 have that of rows 2i."""
    return classes[::2].repeat_interleave(2, output_size=len(classes))
