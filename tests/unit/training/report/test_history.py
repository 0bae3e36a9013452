"""Curves that are thinned while a file grows."""

from __future__ import annotations

import math
import random

import pytest

from distgan.training.report.charts import MAX_POINTS, thin
from distgan.training.report.history import KEPT, MAX_METRICS, History


def test_a_short_curve_is_not_thinned():
    points = [(float(n), 1.0) for n in range(MAX_POINTS)]
    assert thin(points) is points


@pytest.mark.parametrize("count", [501, 5_000, 200_000])
def test_a_thinned_curve_keeps_both_ends_every_peak_and_the_gap(count):
    points = [(float(n), random.Random(n).random()) for n in range(count)]
    points[count // 3], points[count // 2] = (count // 3, 50.0), (count // 2, -50.0)
    points[count // 4] = (count // 4, math.nan)
    kept = thin(points)
    assert len(kept) <= MAX_POINTS + 2
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert {(count // 3, 50.0), (count // 2, -50.0)} <= set(kept)
    assert sum(math.isnan(y) for _, y in kept) == 1
    assert [x for x, _ in kept] == sorted({x for x, _ in kept})


@pytest.mark.parametrize("value", [lambda n: 0.0, lambda n: math.nan, lambda n: math.nan if n % 2 else 1.0])
def test_points_that_are_all_alike_are_thinned_as_well(value):
    assert len(thin([(0.0, value(n)) for n in range(50_000)])) <= MAX_POINTS + 2


def test_memory_is_bounded_however_long_the_run_is():
    history = History()
    for n in range(10 * KEPT):
        history.add({"images": n, "loss/d": math.sin(n)})
    assert history.lines == 10 * KEPT
    assert KEPT <= len(history.points("loss/d")) <= 2 * KEPT
    assert history.points("loss/d")[0] == (0.0, 0.0)
    assert history.points("loss/d")[-1][0] == 10 * KEPT - 1


def test_a_file_with_endless_names_gives_a_bounded_number_of_curves():
    history = History()
    history.add({"images": 1, **{f"x/{n}": n for n in range(1000)}, "y" * 1000: 1.0})
    assert len(history.names) == MAX_METRICS
    assert history.left_out == 1000 - MAX_METRICS + 1


def test_counters_and_what_is_no_number_are_no_curves():
    history = History()
    row = {
        "images": 5,
        "step": 1,
        "epoch": 0.5,
        "seconds": 7.5,
        "nonfinite": {"loss/g": "nan"},
        "text": "a",
        "is": True,
    }
    history.add({**row, "loss/g": None, "loss/d": 2})
    assert history.names == ["loss/g", "loss/d"]
    assert math.isnan(history.points("loss/g")[0][1])
    assert history.points("loss/d") == [(5.0, 2.0)]
    assert history.points("no such") == ()
    assert history.seconds == 7.5


def test_without_a_clock_the_time_comes_from_the_speeds():
    history = History()
    for images in (100, 200, 400):
        history.add({"images": images, "speed/images_per_second": 10.0})
    assert history.seconds == 40
