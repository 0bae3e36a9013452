"""A set of images as points in the space of an extractor's features, and what lies between two such sets.

In: features, float32 [N, D]. Out: a `Cloud` (what the values need of the pairs within one set) and `Pairs` (what they
need of the pairs between two). All distances and kernels of a pair of sets come from one pass over blocks of dot
products in float64, so memory is bounded by the features and one block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

VERSION = 1  # of all numbers that this package computes from images; moves when one of them changes
BLOCK = 2048  # rows of a block: 32 MiB of float64
NEIGHBOURS = 5  # nearest others that are kept per point
MANIFOLD = 3  # the k of precision and recall (Kynkäänniemi et al. 2019, section 2)
DENSITY = 5  # the k of density and coverage (Naeem et al. 2020, section 3)


class Cloud(NamedTuple):
    """One set of N points in D dimensions."""

    features: Tensor
    """float32 [N, D]."""
    nearest: Tensor
    """float64 [N, NEIGHBOURS]: squared distances from each point to the nearest others, ascending."""
    kernel: float
    """Mean of the kernel over all pairs of different points."""

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Cloud:
        """From what `arrays` gave."""
        features, nearest = (torch.from_numpy(arrays[name]) for name in ("features", "nearest"))
        return cls(features, nearest, float(arrays["kernel"]))

    def arrays(self) -> dict[str, np.ndarray]:
        return {"features": self.features.numpy(), "nearest": self.nearest.numpy(), "kernel": np.array(self.kernel)}

    def radius(self, k: int) -> Tensor:
        """float64 [N]: squared distance from each point to its k-th nearest other."""
        return self.nearest[:, k - 1]


class Pairs(NamedTuple):
    """Between N real and M generated points. A ball around a point reaches to its k-th nearest other, edge included."""

    kernel: float
    """Mean of the kernel over all pairs."""
    real_balls: Tensor
    """int64 [M]: balls of real points (k = DENSITY) in which a generated point lies."""
    in_reals: Tensor
    """bool [M]: the generated point lies in the ball of a real one (k = MANIFOLD)."""
    in_fakes: Tensor
    """bool [N]: the real point lies in the ball of a generated one (k = MANIFOLD)."""
    has_fake: Tensor
    """bool [N]: the ball of the real point (k = DENSITY) holds a generated one."""


def cloud(features: Tensor) -> Cloud:
    """features: float [N, D], N > NEIGHBOURS."""
    count, dimension = features.shape
    nearest = torch.full((count, NEIGHBOURS), torch.inf, dtype=torch.float64)
    kernel = 0.0
    for rows, x in blocks(features):
        for columns, y in blocks(features):
            if columns.start < rows.start:  # the other half is the same
                continue
            dots = x @ y.T
            kernels, apart = kernel_of(dots, dimension), squared(x, y, dots)
            if rows == columns:
                apart.fill_diagonal_(torch.inf)
                kernel += float(kernels.sum() - kernels.trace())
            else:
                kernel += 2 * float(kernels.sum())
                nearest[columns] = _smallest(nearest[columns], apart.T)
            nearest[rows] = _smallest(nearest[rows], apart)
    return Cloud(features, nearest, kernel / (count * (count - 1)))


def pairs(real: Cloud, fake: Cloud) -> Pairs:
    """real: N points, fake: M points of as many dimensions."""
    count, dimension = real.features.shape
    total = len(fake.features)
    in_fakes, has_fake = torch.zeros(count, dtype=torch.bool), torch.zeros(count, dtype=torch.bool)
    in_reals, real_balls = torch.zeros(total, dtype=torch.bool), torch.zeros(total, dtype=torch.int64)
    kernel = 0.0
    for rows, x in blocks(real.features):
        wide, narrow = real.radius(DENSITY)[rows, None], real.radius(MANIFOLD)[rows, None]
        for columns, y in blocks(fake.features):
            dots = x @ y.T
            apart = squared(x, y, dots)
            kernel += float(kernel_of(dots, dimension).sum())
            inside = apart <= wide
            real_balls[columns] += inside.sum(dim=0)
            has_fake[rows] |= inside.any(dim=1)
            in_reals[columns] |= (apart <= narrow).any(dim=0)
            in_fakes[rows] |= (apart <= fake.radius(MANIFOLD)[columns]).any(dim=1)
    return Pairs(kernel / (count * total), real_balls, in_reals, in_fakes, has_fake)


def kernel_of(dots: Tensor, dimension: int) -> Tensor:
    """The polynomial kernel (x y / D + 1)^3 (Bińkowski et al. 2018, section 4)."""
    base = dots / dimension + 1
    return base * base * base


def blocks(features: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Places and float64 rows."""
    for start in range(0, len(features), BLOCK):
        rows = slice(start, min(start + BLOCK, len(features)))
        yield rows, features[rows].double()


def squared(x: Tensor, y: Tensor, dots: Tensor) -> Tensor:
    """Squared distances [n, m] between the rows of x [n, D] and y [m, D], given their dot products [n, m]."""
    lengths = x.square().sum(dim=1)[:, None] + y.square().sum(dim=1)
    return (lengths - 2 * dots).clamp_min_(0)


def _smallest(before: Tensor, more: Tensor) -> Tensor:
    """The smallest of each row of both, ascending: [n, NEIGHBOURS], [n, m] -> [n, NEIGHBOURS]."""
    few = more.topk(min(NEIGHBOURS, more.shape[1]), dim=1, largest=False).values
    return torch.cat([before, few], dim=1).topk(NEIGHBOURS, dim=1, largest=False).values
