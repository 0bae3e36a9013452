"""This checkout beside another one: who begins changes, and the ratio is ours by theirs."""

from __future__ import annotations

from benchmarks.speed.against import ratios, row


def test_both_take_turns_and_who_begins_changes():
    turns = []

    def take(name, seconds):
        return lambda: turns.append(name) or seconds

    assert ratios(take("ours", 3.0), take("theirs", 2.0), 4) == [1.5] * 4
    assert turns == ["ours", "theirs", "theirs", "ours"] * 2


def test_a_row_has_the_median_and_the_middle_half():
    assert row("a step", [0.9, 1.0, 1.1]) == "| a step | 1.000 | 0.900 ... 1.100 | 3 |"
