"""The two ranges of a picture: uint8 0 ... 255 in files, float -1 ... 1 in networks."""

from __future__ import annotations

import torch
from torch import Tensor


def to_signed(images: Tensor) -> Tensor:
    """uint8 0 ... 255 -> -1 ... 1 in torch's default float type."""
    return images.to(torch.get_default_dtype()).div_(127.5).sub_(1.0)


def to_bytes(images: Tensor) -> Tensor:
    """Float -1 ... 1 -> uint8 0 ... 255, rounded to the nearest; values outside are clamped."""
    return images.float().add(1.0).mul(127.5).round().clamp(0, 255).to(torch.uint8)
