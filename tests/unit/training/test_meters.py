"""Speed, the time of a step, and the spread over the ranks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from distgan.training import meters
from distgan.training.meters import Speed, StepTimer, Work, spread_of_ranks

CPU = torch.device("cpu")


def timed(*seconds: float, monkeypatch) -> StepTimer:
    """A timer of steps that took these times, one second apart."""
    timer, clock = StepTimer(CPU), [0.0]
    monkeypatch.setattr(meters.time, "perf_counter", lambda: clock[0])
    for took in seconds:
        with timer.step():
            clock[0] += took
        clock[0] += 1
    return timer


def test_a_step_is_timed_without_what_lies_between_steps(monkeypatch):
    timer = timed(0.3, 0.1, 0.2, monkeypatch=monkeypatch)
    assert timer.take() == pytest.approx([0.1, 0.2, 0.3])
    assert timer.take() == [], "they were taken"


def test_a_window_says_images_flops_and_the_share_of_the_peak_and_of_waiting(monkeypatch):
    timer = timed(*[1.0] * 19, 5.0, monkeypatch=monkeypatch)
    watch, waiting = SimpleNamespace(seconds=100.0), SimpleNamespace(seconds=3.0)
    speed = Speed(watch, waiting, timer, 1000, Work(flops=8e12, images=32, peak=64e12))
    watch.seconds, waiting.seconds = 110.0, 4.0
    assert speed.window(1640) == {
        "speed/images_per_second": 64,
        "speed/data_wait": 0.1,
        "speed/tflops": 16,  # two steps of 32 images a second
        "speed/peak_share": 0.25,
        "speed/step_seconds_median": pytest.approx(1),
        "speed/step_seconds_p95": pytest.approx(1),
    }
    watch.seconds = 111.0
    assert speed.window(1704)["speed/images_per_second"] == 64, "since the last line only"


def test_the_95th_percentile_is_a_step_that_5_percent_are_slower_than(monkeypatch):
    timer = timed(*range(1, 101), monkeypatch=monkeypatch)
    watch = SimpleNamespace(seconds=0.0)
    found = Speed(watch, SimpleNamespace(seconds=0.0), timer, 0, Work(None, 1, None)).window(0)
    assert found["speed/step_seconds_p95"] == pytest.approx(95)
    assert found["speed/step_seconds_median"] == pytest.approx(50.5)
    assert "speed/tflops" not in found, "not known"


def test_one_process_has_no_spread_of_ranks_and_several_have_the_extremes(monkeypatch):
    assert spread_of_ranks(0.5, 0.1, CPU) == {}
    monkeypatch.setattr(meters, "world_size", lambda: 3)
    monkeypatch.setattr(meters, "rows_of_all", lambda own: torch.stack([own, own * 2, own / 2]))
    assert spread_of_ranks(0.5, 0.1, CPU) == pytest.approx(
        {
            "ranks/step_seconds_fastest": 0.25,
            "ranks/step_seconds_slowest": 1.0,
            "ranks/data_wait_lowest": 0.05,
            "ranks/data_wait_highest": 0.2,
        }
    )
