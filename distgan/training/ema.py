"""Moving average of G's weights. Its memory is a half-life in real images, whatever the batch size."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from distgan.config.method import EmaConfig
from distgan.config.schedule import at


def ema_decay(config: EmaConfig, batch_images: int, images_seen: int) -> float:
    """Share of the old average that stays after an update.

    batch_images: real images of the update; images_seen: all so far, these included.
    Source: Karras et al. 2020, arXiv:2006.06676, implementation details (ramp-up).
    """
    half_life = at(config.half_life_images, images_seen)
    if config.rampup_ratio is not None:
        half_life = min(half_life, config.rampup_ratio * images_seen)
    return 0.5 ** (batch_images / half_life) if half_life else 0.0


class Ema:
    """An exponential moving average of a network's weights; buffers are copied as they are.

    So are the running statistics of batch normalisation: averaging them, or measuring them anew on the average, gave no
    better scores (docs/quality.md).
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._followed = network
        # looking for weights in every step takes longer than averaging a small network; `.to` exchanges buffers only
        self._weights: tuple[list[Tensor], list[Tensor]] = [*self.network.parameters()], [*network.parameters()]
        self._has_buffers = any(True for _ in network.buffers())

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """Moves towards the network that it was made of."""
        torch._foreach_lerp_(*self._weights, 1 - decay)
        if self._has_buffers:
            for mine, its in zip(self.network.buffers(), self._followed.buffers(), strict=True):
                mine.copy_(its)
