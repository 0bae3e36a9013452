"""Dropout and noise whose random numbers depend on the image, not on the process.

torch's dropout draws from each process's own generator, so two processes with half a batch each do not give the result
of one process. Here the numbers are drawn for the global batch and sliced (see utils/rng.py).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from distgan.utils.rng import Draws


class Keyed(nn.Module):
    """A layer with random numbers in training mode.

    `draws` gives the random numbers of the next forward's rows, one part after another (fakes, then reals); the parts'
    lengths add up to the batch. `key_layers` sets it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.draws: tuple[Draws, ...] = ()

    def drawn(self, x: Tensor) -> Tensor:
        """The result in training mode. Never compiled, since the key changes in every step (training/execution.py)."""
        raise NotImplementedError


class KeyedDropout(Keyed):
    """Zeroes entries with probability p and divides the others by 1 - p, in training mode."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return x if not self.training or self.p == 0 else self.drawn(x)

    def drawn(self, x: Tensor) -> Tensor:
        uniform = torch.cat([draws.uniform(x.shape[1:]) for draws in self.draws])
        return x * (uniform >= self.p).to(x.dtype) / (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class KeyedNoise(Keyed):
    """Adds a learned multiple of normal noise to maps [B, C, H, W], one number for all channels of a pixel.

    The multiple begins at 0. There is no noise in eval mode, so that a latent vector is an image, nor before a key.
    Source: Karras et al. 2019, arXiv:1812.04948, section 2; as in FastGAN (Liu et al. 2021, arXiv:2101.04775).
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.drawn(x) if self.training else x

    def drawn(self, x: Tensor) -> Tensor:
        shape = (1, *x.shape[2:])
        noise = torch.cat([draws.normal(shape) for draws in self.draws]) if self.draws else x.new_zeros(shape)
        return x + self.weight.to(x.dtype) * noise.to(x.dtype)


def keyed(network: nn.Module) -> list[Keyed]:
    """Every layer of a network that takes random numbers. The search takes longer than keying them: search once."""
    return [module for module in network.modules() if isinstance(module, Keyed)]


def dropouts(network: nn.Module) -> list[KeyedDropout]:
    """Every KeyedDropout of a network. The search takes longer than setting them, so callers search once."""
    return [module for module in network.modules() if isinstance(module, KeyedDropout)]


def key_layers(layers: Iterable[Keyed], *draws: Draws) -> None:
    """Gives each layer the draws of the next forward's rows; every layer has its own numbers."""
    for index, layer in enumerate(layers):
        layer.draws = tuple(draw.at(draw.purpose, *draw.counters, index) for draw in draws)


def set_dropout(layers: Iterable[KeyedDropout], p: float) -> None:
    """Sets the probability of each layer."""
    for layer in layers:
        layer.p = p
