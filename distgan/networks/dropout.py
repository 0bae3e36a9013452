"""Dropout whose mask belongs to the image, not to the process.

torch's dropout draws from each process's own generator, so two processes with half a batch each do not repeat what one
process does. Here the mask is drawn for the global batch and sliced (see rng.py).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from distgan.utils.rng import Draws


class KeyedDropout(nn.Module):
    """Zeroes entries with probability p and divides the rest by 1 - p, in training mode.

    `draws` says whose rows the next forward will see, one after another (fakes, then reals); their lengths add up to
    the batch. It is set by `key_dropout`.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.draws: tuple[Draws, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        return x if not self.training or self.p == 0 else self.drop(x)

    def drop(self, x: Tensor) -> Tensor:
        """Whatever the mode; never compiled (compiling.py): a key is another one in every step."""
        uniform = torch.cat([draws.uniform(x.shape[1:]) for draws in self.draws])
        return x * (uniform >= self.p).to(x.dtype) / (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def dropouts(network: nn.Module) -> list[KeyedDropout]:
    """Every KeyedDropout of a network. Looking for them takes longer than setting them, so it is done once."""
    return [module for module in network.modules() if isinstance(module, KeyedDropout)]


def key_dropout(layers: Iterable[KeyedDropout], *draws: Draws) -> None:
    """Tells each layer which rows the next forward sees; each gets its own numbers."""
    for index, layer in enumerate(layers):
        layer.draws = tuple(draw.at(draw.purpose, *draw.counters, index) for draw in draws)


def set_dropout(layers: Iterable[KeyedDropout], p: float) -> None:
    """Sets the probability of each layer."""
    for layer in layers:
        layer.p = p
