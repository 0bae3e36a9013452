"""The metrics: pure functions of features and class logits, on the CPU in float64.

In: an extractor's features of N real and M generated images. Out: numbers by short names (fd, kd, is, precision,
recall, density, coverage); registry.py has their full names.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from distgan.metrics.manifold import DENSITY_K, Manifold, Overlap, measure_overlap, polynomial_kernel, two_nearest
from distgan.utils.log import log

PARTS = 10  # consecutive parts of the images, for the spread of a value
MEMORISED_SHARE = 0.01  # of real images that count as memorised, by definition
SAME = 1e-6  # of a usual squared distance: that of two equal images, whose features may be rounded differently
MIN_IMAGES = 2 * PARTS  # since the kernel distance of a part needs two


class Moments(NamedTuple):
    """Mean [D] and covariance [D, D] (divided by N - 1) of N points, float64."""

    mean: Tensor
    covariance: Tensor


class Metric(Protocol):
    """A score of generated images against real ones."""

    @property
    def better(self) -> Literal["lower", "higher"]:
        """The direction."""

    def __call__(self, comparison: Comparison) -> float | tuple[float, float]:
        """The value, or the value and its standard deviation over PARTS parts of the images."""


@dataclass(frozen=True)
class Comparison:
    """M generated images beside N real ones, on the main process."""

    real: Manifold
    fake: Manifold
    logits: Tensor
    """float32 [M, K], of the generated images."""
    images: Tensor
    """uint8 [M, channels, H, W], the generated images, where a metric needs them; else of length 0."""
    asked: Tensor | None = None
    """int64 [M]: the number of the logit of the class that each image was asked for; None: it is not known."""

    @property
    def real_features(self) -> Tensor:
        """float32 [N, D]."""
        return self.real.features

    @property
    def fake_features(self) -> Tensor:
        """float32 [M, D]."""
        return self.fake.features

    @cached_property
    def overlap(self) -> Overlap:
        """How the neighbourhoods of both sets overlap."""
        return measure_overlap(self.real, self.fake)


class Score(NamedTuple):
    """A metric that comes with distgan."""

    compute: Callable[[Comparison], float | tuple[float, float]]
    better: Literal["lower", "higher"]
    paper: str = ""
    """Its name in papers, where Inception computes the features."""
    needs_images: bool = False
    only_with: str = ""
    """The one extractor that it is for; empty: every one."""

    def __call__(self, comparison: Comparison) -> float | tuple[float, float]:
        return self.compute(comparison)


class Values(NamedTuple):
    """Values by short name."""

    values: dict[str, float]
    spreads: dict[str, float]
    """Standard deviations over PARTS parts of the images, for kd and is."""


def compare_sets(comparison: Comparison, metrics: Mapping[str, Metric]) -> Values:
    """The values of these metrics, by their short names."""
    values, spreads = dict[str, float](), dict[str, float]()
    for name, metric in metrics.items():
        found = _computed(name, metric, comparison)
        if isinstance(found, tuple):
            found, spreads[name] = found
        values[name] = found
    return Values(values, spreads)


def _computed(name: str, metric: Metric, comparison: Comparison) -> float | tuple[float, float]:
    """The metric's value. One from outside may raise anything: NaN then, with a warning."""
    if isinstance(metric, Score):
        return metric(comparison)
    try:
        return metric(comparison)
    except Exception as error:
        log.warning("metric %s failed (%s: %s); this evaluation has no such score", name, type(error).__name__, error)
        return math.nan


def _fd(comparison: Comparison) -> float:
    return frechet_distance(moments(comparison.real_features), moments(comparison.fake_features))


def _kd(comparison: Comparison) -> tuple[float, float]:
    real, fake = comparison.real, comparison.fake
    parts = zip(_parts(real.features), _parts(fake.features), strict=True)
    kernel = torch.tensor([kernel_distance(x, y) for x, y in parts], dtype=torch.float64)
    value = real.mean_kernel + fake.mean_kernel - 2 * comparison.overlap.mean_kernel
    return value, kernel.std(correction=0).item()


FD = Score(_fd, "lower", paper="fid")
KD = Score(_kd, "lower", paper="kid")
IS = Score(lambda comparison: inception_score(comparison.logits), "higher", paper="inception_score")
PRECISION = Score(lambda comparison: _mean(comparison.overlap.precise), "higher")
RECALL = Score(lambda comparison: _mean(comparison.overlap.recalled), "higher")
DENSITY = Score(lambda comparison: _mean(comparison.overlap.density_counts) / DENSITY_K, "higher")
COVERAGE = Score(lambda comparison: _mean(comparison.overlap.covered), "higher")
CLASS_ACCURACY = Score(lambda comparison: class_accuracy(comparison), "higher", only_with="classifier")
CLASSES = Score(lambda comparison: effective_classes(comparison.logits), "higher", only_with="classifier")
MEMORISED = Score(lambda comparison: memorised(comparison), "lower", only_with="classifier")


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


def class_accuracy(comparison: Comparison) -> float:
    """Share of the images that are recognised as the class that was asked for; NaN if that is not known."""
    if comparison.asked is None:
        return math.nan
    return _mean(comparison.logits.argmax(dim=1) == comparison.asked)


def effective_classes(logits: Tensor) -> float:
    """The effective number of the classes that are recognised: exp of the entropy of their shares (Hill 1973).

    logits: float [N, K]. K for equal shares; K - 1 if a class is missing, and the others have equal shares. Counted is
    the most likely class of each image, since the probabilities of an image that is hard to tell are spread over all.
    """
    shares = logits.argmax(dim=1).bincount(minlength=logits.shape[1]).double() / len(logits)
    return torch.special.entr(shares).sum().exp().item()


def memorised(comparison: Comparison) -> float:
    """Share of generated images that are much nearer to one real image than to any other, as copies of it are.

    Of each image: the distance to the nearest image of the reference, divided by that to the second nearest (Lowe 2004,
    section 7.1). It counts if its ratio is at most the one that a share of MEMORISED_SHARE of the reference's own
    images do not exceed, those left out that the reference has twice. So does an exact copy always, also of such an
    image, where the ratio says nothing. The ratio's distribution does not depend on how dense the real images lie at a
    place, so that images which are only typical do not count more often than others.
    """
    real = comparison.real.nearest[:, :2]
    same = SAME * real[:, 1].median()
    own = _ratios(real[real[:, 0] > same]).sort().values
    limit = own[math.ceil(MEMORISED_SHARE * len(own)) - 1].item() if len(own) else 0.0
    found = two_nearest(comparison.fake_features, comparison.real_features)
    return _mean((_ratios(found) <= limit) | (found[:, 0] <= same))


def _ratios(nearest: Tensor) -> Tensor:
    """Squared distance to the nearest divided by that to the second nearest, [N, 2] -> [N]; 0 for the same point."""
    return nearest[:, 0] / nearest[:, 1].clamp_min(torch.finfo(torch.float64).tiny)


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
