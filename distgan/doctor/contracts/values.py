"""Random tensors for a part of a training, and what it returned, in words."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

COUNT = 12  # images or logits


def normal_values(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal, float32 of this shape, the same for the same seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def form_of(value: Any) -> str:
    """A tensor's type and shape; else the type's name."""
    shape = getattr(value, "shape", None)
    return f"{getattr(value, 'dtype', '')} {list(shape)}" if shape is not None else type(value).__name__
