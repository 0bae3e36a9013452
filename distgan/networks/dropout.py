"""Dropout whose mask depends on the image, not on the process.

torch's dropout draws from each process's own generator, so two processes with half a batch each do not give the result
of one process. Here the mask is drawn for the global batch and sliced (see utils/rng.py).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from distgan.utils.rng import Draws


class KeyedDropout(nn.Module):
    """Zeroes entries with probability p and divides the others by 1 - p, in training mode.

    `draws` gives the random numbers of the next forward's rows, one part after another (fakes, then reals); the parts'
    lengths add up to the batch. `key_dropout` sets it.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.draws: tuple[Draws, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        return x if not self.training or self.p == 0 else self.drop(x)

    def drop(self, x: Tensor) -> Tensor:
        """Drops in any mode. Never compiled, since the key changes in every step (training/execution.py)."""
        uniform = torch.cat([draws.uniform(x.shape[1:]) for draws in self.draws])
        return x * (uniform >= self.p).to(x.dtype) / (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def dropouts(network: nn.Module) -> list[KeyedDropout]:
    """Every KeyedDropout of a network. The search takes longer than setting them, so callers search once."""
    return [module for module in network.modules() if isinstance(module, KeyedDropout)]


def key_dropout(layers: Iterable[KeyedDropout], *draws: Draws) -> None:
    """Gives each layer the draws of the next forward's rows; every layer has its own numbers."""
    for index, layer in enumerate(layers):
        layer.draws = tuple(draw.at(draw.purpose, *draw.counters, index) for draw in draws)


def set_dropout(layers: Iterable[KeyedDropout], p: float) -> None:
    """Sets the probability of each layer."""
    for layer in layers:
        layer.p = p
