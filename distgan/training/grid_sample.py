"""Bilinear resampling of images that can be differentiated by them any number of times.

A gradient penalty through an augmentation needs that twice; `torch.nn.functional.grid_sample` of torch 2.6, the oldest
that distgan takes, can once. Resampling is linear in the images: its derivative spreads a gradient back over them, and
the derivative of that resamples.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BILINEAR, REFLECTION, ALIGN_CORNERS = 0, 2, False  # as torch's operators number them


def grid_sample(images: Tensor, grid: Tensor) -> Tensor:
    """torch's `grid_sample(images, grid, "bilinear", "reflection", align_corners=False)`: [B, C, h, w].

    images: [B, C, H, W]; grid: [B, h, w, 2] of the same type, places x, y in the image from -1 to 1, which get no
    gradient.
    """
    return _Resampled.apply(images, grid)  # type: ignore[no-untyped-call]


class _Resampled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(images, grid)
        return torch.ops.aten.grid_sampler_2d(images, grid, BILINEAR, REFLECTION, ALIGN_CORNERS)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Spread.apply(*gradients, *ctx.saved_tensors), None  # type: ignore[no-untyped-call]


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, images: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        how = (BILINEAR, REFLECTION, ALIGN_CORNERS, [True, False])  # by the images, not by the grid
        return torch.ops.aten.grid_sampler_2d_backward(gradient, images, grid, *how)[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _Resampled.apply(*gradients, *ctx.saved_tensors), None, None  # type: ignore[no-untyped-call]
