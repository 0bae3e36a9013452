"""The manifolds of real and of generated images in a feature space, and their overlap.

In: features, float32 [N, D]. Out: a `Manifold` (statistics of the pairs within one set) and an `Overlap` (statistics of
the pairs between two sets). One pass over blocks of dot products in float64 gives all distances and kernels, so memory
is bounded by the features and one block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

VERSION = 1  # of all numbers that this package computes from images; changes with any of them
VERSIONS = {"classifier": 2}  # of extractors whose own numbers have changed since then: memorised
BLOCK = 2048  # rows of a block: 32 MiB of float64
NEIGHBOURS = 5  # nearest other points that are kept for each point
MANIFOLD_K = 3  # k of precision and recall (Kynkäänniemi et al. 2019, section 2)
DENSITY_K = 5  # k of density and coverage (Naeem et al. 2020, section 3)


class Manifold(NamedTuple):
    """N points in D dimensions, with a ball around each that reaches to its k-th nearest other point."""

    features: Tensor
    """float32 [N, D]."""
    nearest: Tensor
    """float64 [N, NEIGHBOURS]: squared distances from each point to the nearest others, ascending."""
    mean_kernel: float
    """Mean of the kernel over all pairs of different points."""

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Manifold:
        """The manifold that `to_arrays` stored."""
        features, nearest = (torch.from_numpy(arrays[name]) for name in ("features", "nearest"))
        return cls(features, nearest, float(arrays["kernel"]))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The manifold as arrays by name, for the cache."""
        arrays = {"features": self.features.numpy(), "nearest": self.nearest.numpy()}
        return arrays | {"kernel": np.array(self.mean_kernel)}

    def squared_radii(self, k: int) -> Tensor:
        """float64 [N]: squared distance from each point to its k-th nearest other."""
        return self.nearest[:, k - 1]


class Overlap(NamedTuple):
    """Relations between N real and M generated points; a ball includes its edge."""

    mean_kernel: float
    """Mean of the kernel over all pairs of a real and a generated point."""
    density_counts: Tensor
    """int64 [M]: balls of real points (k = DENSITY_K) that hold the generated point."""
    precise: Tensor
    """bool [M]: whether the ball of a real point (k = MANIFOLD_K) holds the generated point."""
    recalled: Tensor
    """bool [N]: whether the ball of a generated point (k = MANIFOLD_K) holds the real point."""
    covered: Tensor
    """bool [N]: whether the ball of the real point (k = DENSITY_K) holds a generated point."""


def estimate_manifold(features: Tensor) -> Manifold:
    """The manifold of one set. features: float [N, D], N > NEIGHBOURS."""
    count, dimension = features.shape
    nearest = torch.full((count, NEIGHBOURS), torch.inf, dtype=torch.float64)
    kernel_sum = 0.0
    for rows, x in blocks(features):
        for columns, y in blocks(features):
            if columns.start < rows.start:  # equal to a block above the diagonal
                continue
            dots = x @ y.T
            kernels, distances = polynomial_kernel(dots, dimension), squared_distances(x, y, dots)
            if rows == columns:
                distances.fill_diagonal_(torch.inf)
                kernel_sum += float(kernels.sum() - kernels.trace())
            else:
                kernel_sum += 2 * float(kernels.sum())
                nearest[columns] = _smallest(nearest[columns], distances.T)
            nearest[rows] = _smallest(nearest[rows], distances)
    return Manifold(features, nearest, kernel_sum / (count * (count - 1)))


def measure_overlap(real: Manifold, fake: Manifold) -> Overlap:
    """The overlap of N real and M generated points of the same dimension."""
    count, dimension = real.features.shape
    total = len(fake.features)
    recalled, covered = torch.zeros(count, dtype=torch.bool), torch.zeros(count, dtype=torch.bool)
    precise, density_counts = torch.zeros(total, dtype=torch.bool), torch.zeros(total, dtype=torch.int64)
    density_radii, manifold_radii = real.squared_radii(DENSITY_K), real.squared_radii(MANIFOLD_K)
    kernel_sum = 0.0
    for rows, x in blocks(real.features):
        for columns, y in blocks(fake.features):
            dots = x @ y.T
            distances = squared_distances(x, y, dots)
            kernel_sum += float(polynomial_kernel(dots, dimension).sum())
            inside = distances <= density_radii[rows, None]
            density_counts[columns] += inside.sum(dim=0)
            covered[rows] |= inside.any(dim=1)
            precise[columns] |= (distances <= manifold_radii[rows, None]).any(dim=0)
            recalled[rows] |= (distances <= fake.squared_radii(MANIFOLD_K)[columns]).any(dim=1)
    return Overlap(kernel_sum / (count * total), density_counts, precise, recalled, covered)


def two_nearest(points: Tensor, others: Tensor) -> Tensor:
    """float64 [M, 2]: squared distances from each point to the two nearest others, ascending.

    points, others: float [M, D] and [N, D], N > 1.
    """
    nearest = torch.full((len(points), NEIGHBOURS), torch.inf, dtype=torch.float64)
    for rows, x in blocks(points):
        for _, y in blocks(others):
            nearest[rows] = _smallest(nearest[rows], squared_distances(x, y, x @ y.T))
    return nearest[:, :2]


def polynomial_kernel(dots: Tensor, dimension: int) -> Tensor:
    """The kernel (x y / D + 1)^3 of dot products (Bińkowski et al. 2018, section 4)."""
    base = dots / dimension + 1
    return base * base * base


def blocks(features: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yields slices of at most BLOCK rows, and these rows in float64."""
    for start in range(0, len(features), BLOCK):
        rows = slice(start, min(start + BLOCK, len(features)))
        yield rows, features[rows].double()


def squared_distances(x: Tensor, y: Tensor, dots: Tensor) -> Tensor:
    """Squared distances [n, m] between the rows of x [n, D] and y [m, D], given their dot products [n, m]."""
    lengths = x.square().sum(dim=1)[:, None] + y.square().sum(dim=1)
    return (lengths - 2 * dots).clamp_min_(0)


def _smallest(before: Tensor, more: Tensor) -> Tensor:
    """The smallest numbers of each row of both, ascending: [n, NEIGHBOURS], [n, m] -> [n, NEIGHBOURS]."""
    few = more.topk(min(NEIGHBOURS, more.shape[1]), dim=1, largest=False).values
    return torch.cat([before, few], dim=1).topk(NEIGHBOURS, dim=1, largest=False).values
