"""The metrics: pure functions of features and class logits, on the CPU in float64.

In: an extractor's features of N real and M generated images. Out: numbers by short names (fd, kd, is, precision,
recall, density, coverage); registry.py has their full names.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from distgan.metrics.manifold import DENSITY_K, Manifold, measure_overlap, polynomial_kernel

PARTS = 10  # consecutive parts of the images, for the spread of a value
MIN_IMAGES = 2 * PARTS  # since the kernel distance of a part needs two


class Moments(NamedTuple):
    """Mean [D] and covariance [D, D] (divided by N - 1) of N points, float64."""

    mean: Tensor
    covariance: Tensor


class Values(NamedTuple):
    """Values by short name."""

    values: dict[str, float]
    spreads: dict[str, float]
    """Standard deviations over PARTS parts of the images, for kd and is."""


def compare_sets(real: Manifold, fake: Manifold, logits: Tensor) -> Values:
    """All values of M generated images against N real ones. logits: float [M, K], of the generated images."""
    overlap = measure_overlap(real, fake)
    parts = zip(_parts(real.features), _parts(fake.features), strict=True)
    kernel = torch.tensor([kernel_distance(x, y) for x, y in parts], dtype=torch.float64)
    score, score_spread = inception_score(logits)
    values = {
        "fd": frechet_distance(moments(real.features), moments(fake.features)),
        "kd": real.mean_kernel + fake.mean_kernel - 2 * overlap.mean_kernel,
        "is": score,
        "precision": _mean(overlap.precise),
        "recall": _mean(overlap.recalled),
        "density": _mean(overlap.density_counts) / DENSITY_K,
        "coverage": _mean(overlap.covered),
    }
    return Values(values, {"kd": kernel.std(correction=0).item(), "is": score_spread})


def moments(features: Tensor) -> Moments:
    """Mean and covariance of a set. features: float [N, D], N > 1."""
    exact = features.double()
    return Moments(exact.mean(dim=0), torch.cov(exact.T))


def frechet_distance(one: Moments, other: Moments) -> float:
    """The Fréchet distance |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Heusel et al. 2017, section 2).

    The trace of the root is the sum of the roots of the eigenvalues of the symmetric C1^(1/2) C2 C1^(1/2). This holds
    for singular covariances as well (fewer images than dimensions).
    """
    sizes, axes = torch.linalg.eigh(one.covariance)
    root = axes * sizes.clamp_min(0).sqrt()  # root @ root.T is C1
    mixed = torch.linalg.eigvalsh(root.T @ other.covariance @ root).clamp_min(0).sqrt().sum()
    traces = one.covariance.trace() + other.covariance.trace()
    return ((one.mean - other.mean).square().sum() + traces - 2 * mixed).item()


def kernel_distance(one: Tensor, other: Tensor) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy (Bińkowski et al. 2018); it may be below 0.

    one, other: float [N, D] and [M, D], N and M > 1; all pairs must fit into memory.
    """
    x, y = one.double(), other.double()
    dimension = x.shape[1]
    within = [_mean_off_diagonal(polynomial_kernel(points @ points.T, dimension)) for points in (x, y)]
    return sum(within) - 2 * polynomial_kernel(x @ y.T, dimension).mean().item()


def inception_score(logits: Tensor) -> tuple[float, float]:
    """The Inception score: exp of the mean divergence of an image's class probabilities from their mean.

    logits: float [N, K], N >= PARTS. Returns mean and standard deviation over PARTS consecutive parts of the images.
    Source: Salimans et al. 2016, section 4.
    """
    scores = []
    for part in _parts(logits):
        log_each = part.double().log_softmax(dim=1)
        each = log_each.exp()
        log_all = each.mean(dim=0).log().clamp_min(-1e4)  # a class of probability 0 adds 0, not NaN
        scores.append((each * (log_each - log_all)).sum(dim=1).mean().exp())
    all_scores = torch.stack(scores)
    return all_scores.mean().item(), all_scores.std(correction=0).item()


def _mean_off_diagonal(matrix: Tensor) -> float:
    """Mean of a square matrix without its diagonal."""
    count = len(matrix)
    return ((matrix.sum() - matrix.trace()) / (count * (count - 1))).item()


def _parts(rows: Tensor) -> list[Tensor]:
    """PARTS consecutive parts, whose lengths differ by at most one."""
    borders = [len(rows) * number // PARTS for number in range(PARTS + 1)]
    return [rows[start:stop] for start, stop in itertools.pairwise(borders)]


def _mean(numbers: Tensor) -> float:
    return numbers.double().mean().item()
