"""What is planned after a step."""

from __future__ import annotations

import math

import pytest

from distgan.distributed.stop import StopReason
from distgan.training.loop import Intervals, Plan

EVERY = Intervals(total=100, log=5, samples=10, checkpoint=20, consistency=7, seconds=math.inf, patience=600.0)


def plan(step, reason=StopReason.NONE, evaluation=False, intervals=EVERY):
    """The names of what is planned."""
    made = Plan.after(step, intervals, reason, evaluation)
    return {name for name in vars(made) if getattr(made, name)}


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (1, set()),
        (5, {"log"}),
        (7, {"compare_ranks"}),
        (10, {"log", "samples"}),
        (20, {"log", "samples", "checkpoint", "compare_ranks"}),
        (35, {"log", "compare_ranks"}),
        (100, {"last", "log", "samples", "checkpoint", "compare_ranks"}),
    ],
)
def test_intervals_decide_and_what_is_saved_is_compared_first(step, expected):
    assert plan(step) == expected


def test_the_end_of_the_time_is_the_last_step():
    assert plan(33, StopReason.TIME_LIMIT) == {"last", "log", "samples", "checkpoint", "compare_ranks"}


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
