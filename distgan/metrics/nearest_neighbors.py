"""The real images that are nearest to generated ones, to find copies.

In: uint8 images, the real ones block by block. Out: the nearest real images and their distances. A distance is the root
mean square difference of the pixels' values, 0 ... 255, at full size: the L2 distance divided by sqrt(C H W). A real
image is compared as it is and mirrored left to right; the smaller distance counts. Sums are exact: a copy is at
distance 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

MAX_PROBES = 100  # real images whose own nearest neighbours give the usual distance
COPY_SHARE = 0.5  # an image nearer than this share of the usual distance may be a copy


@dataclass(frozen=True)
class Neighbours:
    """The k nearest real images of n images, nearest first; k is smaller if there are fewer real images."""

    distance: Tensor  # [n, k] float64, 0 ... 255
    images: Tensor  # [n, k, C, H, W] uint8, mirrored if that is nearer
    mirrored: Tensor  # [n, k] bool


@dataclass(frozen=True)
class Likeness:
    """Generated images and the real images that are most like them."""

    fakes: Tensor  # [n, C, H, W] uint8
    nearest: Neighbours
    usual_distance: float
    """Median distance of a real image from the nearest other one."""
    compared: int
    """Real images that were compared."""
    total: int
    """Real images of the data set."""

    @property
    def copied(self) -> list[bool]:
        """Whether each of the n images may be a copy."""
        return [distance < COPY_SHARE * self.usual_distance for distance in self.nearest.distance[:, 0].tolist()]


def neighbours(pixels: Tensor, reals: Iterable[Tensor], k: int) -> Neighbours:
    """The k nearest real images of each image.

    pixels: uint8 [n, C, H, W]; reals: blocks of uint8 [b, C, H, W], b >= 1. Needs memory for one block in float64, and
    4 n C H W operations per real image.
    """
    count, shape = len(pixels), pixels.shape[1:]
    distance = torch.empty(count, 0, dtype=torch.float64)
    images = torch.empty(count, 0, *shape, dtype=torch.uint8)
    mirrored = torch.empty(count, 0, dtype=torch.bool)
    for block in reals:
        straight, turned = _squared(pixels, block), _squared(pixels.flip(3), block)
        in_block, order = torch.minimum(straight, turned).sort(dim=1, stable=True)
        order = order[:, :k]
        turn = (turned < straight).gather(1, order)
        candidates = torch.where(turn[:, :, None, None, None], block[order].flip(4), block[order])
        distance, columns = torch.cat([distance, in_block[:, :k]], dim=1).sort(dim=1, stable=True)
        distance, columns = distance[:, :k], columns[:, :k]
        rows = torch.arange(count)[:, None]
        images = torch.cat([images, candidates], dim=1)[rows, columns]
        mirrored = torch.cat([mirrored, turn], dim=1)[rows, columns]
    return Neighbours((distance / shape.numel()).sqrt(), images, mirrored)


def likeness(fakes: Tensor, reals: Tensor, total: int, k: int = 5, block: int = 500) -> Likeness:
    """Compares generated images with real ones, and real ones with one another.

    fakes: uint8 [n, C, H, W]; reals: uint8 [m, C, H, W], m >= 2, a selection of `total` images.
    """
    probes = reals[torch.linspace(0, len(reals) - 1, min(MAX_PROBES, len(reals))).long()]
    found = neighbours(torch.cat([fakes, probes]), reals.split(block), k)
    n = len(fakes)
    nearest = Neighbours(found.distance[:n], found.images[:n], found.mirrored[:n])
    usual_distance = found.distance[n:, 1].median().item()  # column 0 is the image itself
    return Likeness(fakes, nearest, usual_distance, len(reals), total)


def _squared(one: Tensor, other: Tensor) -> Tensor:
    """Squared L2 distances [n, b] of [n, ...] and [b, ...]: whole numbers below 2**53, so exact in float64."""
    a, b = one.flatten(1).double(), other.flatten(1).double()
    return a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
