"""Classes as a network's input: labels, int64 [B], or weights that mix classes, float [B, classes]."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def of_classes(table: Tensor, labels: Tensor) -> Tensor:
    """Rows of a table [classes, d] for labels; mixtures of its rows for weights: [B, d]."""
    return labels.to(table.dtype) @ table if labels.is_floating_point() else F.embedding(labels, table)


def as_weights(labels: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Labels as weights of the classes, [B, classes]: 1 for the class, else 0; weights as they are."""
    if labels.is_floating_point():
        return labels.to(dtype)
    # not F.one_hot, which reads the labels' values: a wait in every forward
    return (labels[:, None] == torch.arange(classes, device=labels.device)).to(dtype)
