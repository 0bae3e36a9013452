"""What is planned after a step."""

from __future__ import annotations

import math

import pytest

from distgan.distributed.stop import StopReason
from distgan.training.loop import Intervals, Plan

EVERY = Intervals(total=100, log=5, samples=10, checkpoint=20, consistency=7, seconds=math.inf, patience=600.0)

JUDGED = ("samples", "judge_samples")


def plan(step, reason=StopReason.NONE, evaluation=False, intervals=EVERY):
    """The names of what is planned."""
    made = Plan.after(step, intervals, reason, evaluation)
    return {name for name in vars(made) if getattr(made, name)}


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (3, set()),
        (5, {"log", "samples"}),
        (7, {"compare_ranks"}),
        (10, {"log", *JUDGED}),
        (20, {"log", *JUDGED, "checkpoint", "compare_ranks"}),
        (35, {"log", "compare_ranks"}),
        (100, {"last", "log", *JUDGED, "checkpoint", "compare_ranks"}),
    ],
)
def test_intervals_decide_and_what_is_saved_is_compared_first(step, expected):
    assert plan(step) == expected


def test_the_end_of_the_time_is_the_last_step():
    assert plan(33, StopReason.TIME_LIMIT) == {"last", "log", *JUDGED, "checkpoint", "compare_ranks"}


def test_at_first_samples_are_drawn_at_halves_of_the_interval_and_not_judged():
    drawn = [
        step for step in range(1, 1001) if "samples" in plan(step, intervals=EVERY._replace(total=9999, samples=500))
    ]
    assert drawn == [7, 15, 31, 62, 125, 250, 500, 1000]
    assert "judge_samples" not in plan(250, intervals=EVERY._replace(samples=500))
    assert "judge_samples" in plan(500, intervals=EVERY._replace(samples=500))


@pytest.mark.parametrize("reason", [reason for reason in StopReason if reason.urgent])
@pytest.mark.parametrize("step", [33, 100])
def test_an_urgent_stop_only_saves(step, reason):
    assert plan(step, reason, evaluation=True) == {"urgent", "checkpoint", "compare_ranks"}


def test_an_evaluation_stands_in_a_line_of_metrics_and_its_state_is_compared_first():
    assert plan(33, evaluation=True) == {"evaluate", "log", "compare_ranks"}


def test_without_an_interval_the_ranks_are_never_compared():
    assert "compare_ranks" not in plan(100, intervals=EVERY._replace(consistency=None))


def test_of_two_reasons_the_larger_number_is_the_more_urgent():
    in_order = ["NONE", "TIME_LIMIT", "REQUESTED", "SIGHUP", "SIGTERM", "RULE", "FAILED"]
    assert [reason.name for reason in sorted(StopReason) if reason.name in in_order] == in_order
    calm = [reason for reason in StopReason if not reason.urgent]
    assert calm == [StopReason.NONE, StopReason.TIME_LIMIT, StopReason.REQUESTED]
