"""The values themselves: pure functions of features and class logits, on the CPU in float64.

In: what an extractor makes of N real and M generated images. Out: numbers by short names (fd, kd, is, precision,
recall, density, coverage); `names` says what they are called with which extractor.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from distgan.metrics.manifold import DENSITY, Cloud, kernel_of, pairs

PARTS = 10  # into which the images are cut, in order, for the spread of a value
MIN = 2 * PARTS  # images: a part's kernel distance needs two


class Moments(NamedTuple):
    """Mean [D] and covariance [D, D] (divided by N - 1) of N points, float64."""

    mean: Tensor
    covariance: Tensor


class Values(NamedTuple):
    """By short name."""

    values: dict[str, float]
    spreads: dict[str, float]
    """Standard deviation over PARTS parts of the images, of those values that have one (kd, is)."""


def compare_sets(real: Cloud, fake: Cloud, logits: Tensor) -> Values:
    """All values of M generated images against N real ones. logits: float [M, K], of the generated images."""
    between = pairs(real, fake)
    parts = zip(_parts(real.features), _parts(fake.features), strict=True)
    kernel = torch.tensor([kernel_distance(x, y) for x, y in parts], dtype=torch.float64)
    score, score_spread = inception_score(logits)
    values = {
        "fd": frechet_distance(moments(real.features), moments(fake.features)),
        "kd": real.kernel + fake.kernel - 2 * between.kernel,
        "is": score,
        "precision": _share(between.in_reals),
        "recall": _share(between.in_fakes),
        "density": between.real_balls.double().mean().item() / DENSITY,
        "coverage": _share(between.has_fake),
    }
    return Values(values, {"kd": kernel.std(correction=0).item(), "is": score_spread})


def moments(features: Tensor) -> Moments:
    """features: float [N, D], N > 1."""
    exact = features.double()
    return Moments(exact.mean(dim=0), torch.cov(exact.T))


def frechet_distance(one: Moments, other: Moments) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Heusel et al. 2017, section 2).

    The trace of the root is the sum of the roots of the eigenvalues of C1^(1/2) C2 C1^(1/2), which is symmetric: it
    holds for singular covariances too (fewer images than dimensions).
    """
    sizes, axes = torch.linalg.eigh(one.covariance)
    root = axes * sizes.clamp_min(0).sqrt()  # root @ root.T is C1
    mixed = torch.linalg.eigvalsh(root.T @ other.covariance @ root).clamp_min(0).sqrt().sum()
    traces = one.covariance.trace() + other.covariance.trace()
    return ((one.mean - other.mean).square().sum() + traces - 2 * mixed).item()


def kernel_distance(one: Tensor, other: Tensor) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy, which may be below 0 (Bińkowski et al. 2018).

    one, other: float [N, D] and [M, D], N and M > 1, of which all pairs fit into memory.
    """
    x, y = one.double(), other.double()
    dimension = x.shape[1]
    within = [_mean_of_others(kernel_of(points @ points.T, dimension)) for points in (x, y)]
    return sum(within) - 2 * kernel_of(x @ y.T, dimension).mean().item()


def inception_score(logits: Tensor) -> tuple[float, float]:
    """exp of the mean divergence of an image's class probabilities from their mean (Salimans et al. 2016, section 4).

    logits: float [N, K], N >= PARTS. Mean and standard deviation over PARTS parts of the images, in order.
    """
    scores = []
    for part in _parts(logits):
        log_each = part.double().log_softmax(dim=1)
        each = log_each.exp()
        log_all = each.mean(dim=0).log().clamp_min(-1e4)  # a class of probability 0 adds 0, not NaN
        scores.append((each * (log_each - log_all)).sum(dim=1).mean().exp())
    all_scores = torch.stack(scores)
    return all_scores.mean().item(), all_scores.std(correction=0).item()


def _mean_of_others(matrix: Tensor) -> float:
    """Mean of a square matrix without its diagonal."""
    count = len(matrix)
    return ((matrix.sum() - matrix.trace()) / (count * (count - 1))).item()


def _parts(rows: Tensor) -> list[Tensor]:
    """PARTS parts in order, whose lengths differ by one at most."""
    borders = [len(rows) * number // PARTS for number in range(PARTS + 1)]
    return [rows[start:stop] for start, stop in itertools.pairwise(borders)]


def _share(flags: Tensor) -> float:
    return flags.double().mean().item()
