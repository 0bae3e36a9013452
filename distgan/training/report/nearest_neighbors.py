"""The real images that are nearest to generated ones, so that a copy can be told.

In: uint8 images, the real ones block by block. Out: the nearest of them and how far they are. A distance is the root
mean square difference of the pixels' values, 0 ... 255, at full size: the L2 distance divided by sqrt(3 H W). A real
image also counts mirrored left to right, whichever is nearer. Sums are exact: a copy is at distance 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

PROBES = 100  # real images whose own nearest neighbours are looked for
COPY = 0.5  # an image nearer than this share of the usual distance between real neighbours may be a copy


@dataclass(frozen=True)
class Neighbours:
    """Of n images, the k nearest real ones, nearest first; k is less where there are fewer."""

    distance: Tensor  # [n, k] float64, 0 ... 255
    images: Tensor  # [n, k, 3, H, W] uint8, mirrored where that is nearer
    mirrored: Tensor  # [n, k] bool


@dataclass(frozen=True)
class Likeness:
    """Generated images beside the real ones that they are most like."""

    fakes: Tensor  # [n, 3, H, W] uint8
    nearest: Neighbours
    usual: float
    """Median distance of a real image from the nearest other one."""
    looked_at: int
    """Real images, of ..."""
    total: int

    @property
    def copied(self) -> list[bool]:
        """Which of the n may be copies."""
        return [distance < COPY * self.usual for distance in self.nearest.distance[:, 0].tolist()]


def neighbours(pixels: Tensor, reals: Iterable[Tensor], k: int) -> Neighbours:
    """The k nearest real images of each. images: uint8 [n, 3, H, W]; reals: uint8 [b, 3, H, W] at a time, b >= 1.

    Takes memory for one block in float64, and the work of 12 n H W operations per real image.
    """
    count, shape = len(pixels), pixels.shape[1:]
    distance = torch.empty(count, 0, dtype=torch.float64)
    images = torch.empty(count, 0, *shape, dtype=torch.uint8)
    mirrored = torch.empty(count, 0, dtype=torch.bool)
    for block in reals:
        straight, turned = _squared(pixels, block), _squared(pixels.flip(3), block)
        found, order = torch.minimum(straight, turned).sort(dim=1, stable=True)
        order = order[:, :k]
        turn = (turned < straight).gather(1, order)
        seen = torch.where(turn[:, :, None, None, None], block[order].flip(4), block[order])
        distance, places = torch.cat([distance, found[:, :k]], dim=1).sort(dim=1, stable=True)
        distance, places = distance[:, :k], places[:, :k]
        rows = torch.arange(count)[:, None]
        images = torch.cat([images, seen], dim=1)[rows, places]
        mirrored = torch.cat([mirrored, turn], dim=1)[rows, places]
    return Neighbours((distance / shape.numel()).sqrt(), images, mirrored)


def likeness(fakes: Tensor, reals: Tensor, total: int, k: int = 5, block: int = 500) -> Likeness:
    """How near generated images come to real ones, and these to one another.

    fakes, reals: uint8 [., 3, H, W], two reals or more; total: of how many images the reals were chosen.
    """
    probes = reals[torch.linspace(0, len(reals) - 1, min(PROBES, len(reals))).long()]
    found = neighbours(torch.cat([fakes, probes]), reals.split(block), k)
    n = len(fakes)
    nearest = Neighbours(found.distance[:n], found.images[:n], found.mirrored[:n])
    usual = found.distance[n:, 1].median().item()  # the first is the image itself
    return Likeness(fakes, nearest, usual, len(reals), total)


def _squared(one: Tensor, other: Tensor) -> Tensor:
    """[n, b] squared L2 distances of [n, ...] and [b, ...]: whole numbers below 2**53, so exact in float64."""
    a, b = one.flatten(1).double(), other.flatten(1).double()
    return a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
