"""The values against closed forms, independent implementations, and double loops written from the papers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from distgan.metrics import manifold
from distgan.metrics.distances import (
    Comparison,
    Moments,
    class_accuracy,
    compare_sets,
    effective_classes,
    frechet_distance,
    inception_score,
    kernel_distance,
    memorised,
    moments,
)
from distgan.metrics.manifold import Manifold, estimate_manifold, measure_overlap, two_nearest
from distgan.metrics.registry import BUILT_IN
from tests.support.fidelity import load_torch_fidelity

load_torch_fidelity()
from torchmetrics.image.fid import FrechetInceptionDistance  # noqa: E402
from torchmetrics.image.inception import InceptionScore  # noqa: E402
from torchmetrics.image.kid import KernelInceptionDistance  # noqa: E402


def _compare(real, fake, logits):
    return compare_sets(Comparison(real, fake, logits, torch.zeros(0)), BUILT_IN)


def points(count: int, dimension: int, seed: int, shift: float = 0.0) -> Tensor:
    stream = torch.Generator().manual_seed(seed)
    mixing = torch.randn((dimension, dimension), generator=torch.Generator().manual_seed(9)) / math.sqrt(dimension)
    return torch.randn((count, dimension), generator=stream) @ mixing + shift


@pytest.fixture(scope="module")
def both() -> tuple[Tensor, Tensor]:
    """300 real and 200 generated points in 24 dimensions, near each other."""
    return points(300, 24, 1), points(200, 24, 2, shift=0.1)


class Features(torch.nn.Module):
    """Takes the place of a network in torchmetrics: its images are rows of numbers already."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.num_features = dimension

    def forward(self, rows: Tensor) -> Tensor:
        return rows.double()


def test_the_frechet_distance_of_gaussians_of_one_covariance_is_the_squared_distance_of_their_means():
    mean = torch.tensor([3.0, -4.0, 12.0], dtype=torch.float64)
    covariance = torch.diag(torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64))
    distance = frechet_distance(Moments(mean, covariance), Moments(torch.zeros(3, dtype=torch.float64), covariance))
    assert distance == pytest.approx(169, rel=1e-12)


def test_the_frechet_distance_of_gaussians_along_the_same_axes_is_that_of_their_standard_deviations():
    turn, _ = torch.linalg.qr(torch.randn((5, 5), dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    one, other = torch.tensor([1.0, 4.0, 9.0, 0.0, 2.0]), torch.tensor([4.0, 4.0, 1.0, 2.25, 0.0])
    covariances = [turn @ torch.diag(sizes.double()) @ turn.T for sizes in (one, other)]
    mean = torch.zeros(5, dtype=torch.float64)
    expected = (one.double().sqrt() - other.double().sqrt()).square().sum().item()
    distance = frechet_distance(*(Moments(mean, covariance) for covariance in covariances))
    assert distance == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("count", [300, 12])
def test_the_frechet_distance_of_a_set_to_itself_is_zero_also_with_fewer_points_than_dimensions(count):
    own = moments(points(count, 24, 1))
    assert abs(frechet_distance(own, own)) < 1e-6 * own.covariance.trace()


def test_the_frechet_distance_of_few_points_in_a_plane_is_that_within_the_plane(both):
    flat = [torch.cat([rows[:, :3], torch.zeros(len(rows), 400)], dim=1) for rows in both]
    within = frechet_distance(*(moments(rows[:, :3]) for rows in both))
    assert frechet_distance(*map(moments, flat)) == pytest.approx(within, rel=1e-6)


def test_the_frechet_distance_is_that_of_torchmetrics(both):
    real, fake = both
    other = FrechetInceptionDistance(feature=Features(24), input_img_size=(24,)).set_dtype(torch.float64)
    other.update(real.double(), real=True)
    other.update(fake.double(), real=False)
    assert frechet_distance(moments(real), moments(fake)) == pytest.approx(other.compute().item(), rel=1e-4)


def test_the_kernel_distance_is_the_double_sum_of_the_paper():
    x, y = points(7, 4, 1).double(), points(5, 4, 2, shift=0.5).double()

    def kernel(a: Tensor, b: Tensor) -> float:
        return (float(a @ b) / 4 + 1) ** 3

    within_x = sum(kernel(x[i], x[j]) for i in range(7) for j in range(7) if i != j) / (7 * 6)
    within_y = sum(kernel(y[i], y[j]) for i in range(5) for j in range(5) if i != j) / (5 * 4)
    between = sum(kernel(a, b) for a in x for b in y) / (7 * 5)
    assert kernel_distance(x, y) == pytest.approx(within_x + within_y - 2 * between, rel=1e-12)


def test_the_kernel_distance_is_that_of_torchmetrics_on_the_whole_sets(both):
    real, fake = both[0][:200], both[1]
    other = KernelInceptionDistance(feature=Features(24), subsets=1, subset_size=200)
    other.update(real, real=True)
    other.update(fake, real=False)
    expected = other.compute()[0].item()
    assert kernel_distance(real, fake) == pytest.approx(expected, rel=1e-4)
    assert _compare(estimate_manifold(real), estimate_manifold(fake), torch.zeros(200, 3)).values[
        "kd"
    ] == pytest.approx(expected, rel=1e-4)


def test_the_kernel_distance_is_unbiased_so_that_sets_of_one_distribution_are_at_zero_on_average():
    found = torch.tensor([kernel_distance(points(30, 8, seed), points(30, 8, 1000 + seed)) for seed in range(300)])
    assert found.min() < 0 < found.max()
    assert abs(found.mean()) < 3 * found.std() / math.sqrt(300)


def test_the_inception_score_is_1_for_equal_probabilities_and_the_number_of_classes_for_sure_and_even_ones():
    assert inception_score(torch.ones(50, 7)) == pytest.approx((1.0, 0.0))
    sure = 1e4 * torch.eye(5).repeat(20, 1)
    assert inception_score(sure) == pytest.approx((5.0, 0.0))


def test_the_inception_score_is_that_of_torchmetrics(both, monkeypatch):
    logits = 3 * both[1]
    monkeypatch.setattr(torch, "randperm", torch.arange)  # torchmetrics mixes the images before it cuts them
    other = InceptionScore(feature=Features(24), splits=10)
    other.update(logits)
    mean, deviation = other.compute()
    score, spread = inception_score(logits)
    assert score == pytest.approx(mean.item(), rel=1e-4)
    assert spread == pytest.approx(deviation.item() * math.sqrt(9 / 10), rel=1e-4)  # it divides by 10 - 1


def naive(real: Tensor, fake: Tensor) -> dict[str, float]:
    """Kynkäänniemi et al. 2019, equations 1 and 2 (k = 3); Naeem et al. 2020, equations 4 and 6 (k = 5)."""

    def distance(a: Tensor, b: Tensor) -> float:
        return (a.double() - b.double()).norm().item()

    def radii(those: Tensor, k: int) -> list[float]:
        return [sorted(distance(a, b) for j, b in enumerate(those) if j != i)[k - 1] for i, a in enumerate(those)]

    real_3, fake_3, real_5 = radii(real, 3), radii(fake, 3), radii(real, 5)
    return {
        "precision": sum(any(distance(r, f) <= b for r, b in zip(real, real_3, strict=True)) for f in fake) / len(fake),
        "recall": sum(any(distance(r, f) <= b for f, b in zip(fake, fake_3, strict=True)) for r in real) / len(real),
        "density": sum(distance(r, f) <= b for f in fake for r, b in zip(real, real_5, strict=True)) / (5 * len(fake)),
        "coverage": sum(any(distance(r, f) <= b for f in fake) for r, b in zip(real, real_5, strict=True)) / len(real),
    }


def test_precision_recall_density_and_coverage_are_those_of_the_papers_double_loops():
    real, fake = points(70, 6, 1), points(40, 6, 2, shift=0.4)
    found = _compare(estimate_manifold(real), estimate_manifold(fake), torch.zeros(40, 3)).values
    expected = naive(real, fake)
    assert all(0.1 < value < 0.95 for value in expected.values()), "the case tells the values apart"
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-12), name


def test_copies_of_the_reals_are_perfect_and_points_far_away_worthless():
    real = points(60, 6, 1)
    same = _compare(estimate_manifold(real), estimate_manifold(real.clone()), torch.zeros(60, 3)).values
    assert (same["precision"], same["recall"], same["coverage"]) == (1, 1, 1)
    assert same["density"] >= 1
    far = _compare(estimate_manifold(real), estimate_manifold(real + 1000), torch.zeros(60, 3)).values
    assert (far["precision"], far["recall"], far["density"], far["coverage"]) == (0, 0, 0, 0)


def test_many_small_blocks_give_what_one_large_block_gives(both, monkeypatch):
    one = [estimate_manifold(rows) for rows in both]
    between = measure_overlap(*one)
    monkeypatch.setattr(manifold, "BLOCK", 3)  # fewer rows than there are neighbours to keep
    for small, large in zip([estimate_manifold(rows) for rows in both], one, strict=True):
        assert small.mean_kernel == pytest.approx(large.mean_kernel, rel=1e-12)
        assert torch.allclose(small.nearest, large.nearest, rtol=1e-10)
    blockwise = measure_overlap(*one)
    assert blockwise.mean_kernel == pytest.approx(between.mean_kernel, rel=1e-12)
    for small, large in zip(blockwise[1:], between[1:], strict=True):
        assert torch.equal(small, large)


def test_the_nearest_others_are_those_of_a_sorted_list_of_distances(both):
    rows = both[0].double()
    distances = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(math.inf)
    assert torch.allclose(estimate_manifold(both[0]).nearest.sqrt(), distances.sort(dim=1).values[:, :5], rtol=1e-9)


def test_a_manifold_is_stored_as_arrays_and_comes_back(both):
    before = estimate_manifold(both[0])
    after = Manifold.from_arrays(before.to_arrays())
    assert torch.equal(after.features, before.features)
    assert torch.equal(after.nearest, before.nearest)
    assert after.mean_kernel == before.mean_kernel


def test_spreads_are_the_standard_deviations_over_ten_parts_in_order(both):
    real, fake = both
    logits = 2 * fake
    spreads = _compare(estimate_manifold(real), estimate_manifold(fake), logits).spreads
    parts = [kernel_distance(real[30 * n : 30 * n + 30], fake[20 * n : 20 * n + 20]) for n in range(10)]
    assert spreads["kd"] == pytest.approx(torch.tensor(parts, dtype=torch.float64).std(correction=0).item())
    assert spreads["is"] == inception_score(logits)[1]


def test_a_metric_from_outside_that_fails_is_reported_and_is_no_score(caplog):
    class Broken:
        better = "lower"

        def __call__(self, comparison):
            raise IndexError("row 7")

    sets = [estimate_manifold(torch.randn(20, 3)) for _ in range(2)]
    found = compare_sets(Comparison(*sets, torch.zeros(20, 3), torch.zeros(0)), {"lab:Broken": Broken()})
    assert math.isnan(found.values["lab:Broken"])
    assert "metric lab:Broken failed (IndexError: row 7); this evaluation has no such score" in caplog.text


# Of extractors that know the classes


def logits_of(classes: list[int], count: int = 4) -> Tensor:
    """Logits in which these classes are the most likely ones."""
    return torch.nn.functional.one_hot(torch.tensor(classes), count).float() + 0.1 * torch.rand(len(classes), count)


def compared(real: Tensor, fake: Tensor, logits: Tensor | None = None, asked: Tensor | None = None) -> Comparison:
    logits = torch.zeros(len(fake), 2) if logits is None else logits
    return Comparison(estimate_manifold(real), estimate_manifold(fake), logits, torch.zeros(0), asked)


def test_the_accuracy_is_the_share_of_images_of_the_class_that_was_asked_for(both):
    asked = torch.tensor([0, 1, 2, 3])
    assert class_accuracy(compared(*both, logits_of([0, 1, 2, 0]), asked)) == 0.75
    assert math.isnan(class_accuracy(compared(*both, logits_of([0, 1, 2, 0]))))


@pytest.mark.parametrize(
    ("classes", "expected"),
    [([0, 1, 2, 3], 4), ([0, 0, 2, 2], 2), ([3, 3, 3, 3], 1), ([0, 0, 1, 2], 2**1.5), ([0, 1, 2] * 5, 3)],
)
def test_the_effective_number_of_classes_is_two_to_the_power_of_their_entropy_in_bits(classes, expected):
    assert effective_classes(logits_of(classes)) == pytest.approx(expected, rel=1e-12)


def test_the_two_nearest_are_those_of_all_distances(both, monkeypatch):
    monkeypatch.setattr(manifold, "BLOCK", 64)
    real, fake = (rows.double() for rows in both)
    expected = torch.cdist(fake, real, compute_mode="donot_use_mm_for_euclid_dist").square().sort(dim=1).values[:, :2]
    torch.testing.assert_close(two_nearest(fake, real), expected, rtol=1e-9, atol=1e-9)


def test_copies_are_memorised_and_new_images_of_the_same_kind_are_not():
    real = points(1000, 24, 1)
    copies = real[:200] + 1e-6 * torch.randn(200, 24, generator=torch.Generator().manual_seed(0))
    new = points(1000, 24, 2)
    assert memorised(compared(real, copies)) == 1
    assert memorised(compared(real, new)) == pytest.approx(0.01, abs=0.01)
    assert memorised(compared(real, torch.cat([new[:600], copies]))) == pytest.approx(0.25, abs=0.015)


def test_copies_are_found_also_where_real_images_are_there_twice():
    once = points(300, 24, 1)
    real = torch.cat([once, once[:30]])
    rounded = once + 1e-7 * torch.randn(300, 24, generator=torch.Generator().manual_seed(0))
    assert memorised(compared(real, once)) == 1
    assert memorised(compared(real, rounded)) == 1


@pytest.mark.parametrize("twice", [0, 20, 150])
def test_images_that_are_nearly_copies_are_found_however_many_real_images_are_there_twice(twice):
    once = points(1000, 24, 1)
    real = torch.cat([once, once[:twice]])
    near = once[500:] + 0.05 * torch.randn(500, 24, generator=torch.Generator().manual_seed(0))
    new = points(1000, 24, 2)
    assert memorised(compared(real, near)) == 1
    assert memorised(compared(real, new)) == pytest.approx(0.01, abs=0.01)


def test_where_every_real_image_is_there_twice_only_exact_copies_are_found():
    real, new = points(300, 24, 1), points(300, 24, 2)
    assert memorised(compared(torch.cat([real, real]), torch.cat([real, new]))) == 0.5


def test_typical_images_are_not_taken_for_copies_although_they_are_nearer_to_real_ones():
    """They lie where real images are many, in the middle."""
    real, typical = points(1000, 8, 1), points(500, 8, 2) / 4
    usual = estimate_manifold(real).nearest[:, 0].median()
    assert two_nearest(typical, real)[:, 0].median() < usual / 2
    assert memorised(compared(real, typical)) < 0.03
