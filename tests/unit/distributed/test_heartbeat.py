"""Sentences from two readings of the signs of life."""

from __future__ import annotations

from distgan.distributed.heartbeat import Sign, describe, lost_process


def sign(number, step, end_reason="", activity="trains"):
    return Sign(number, step, "node", 100, activity, end_reason)


def test_nobody_is_named_where_all_are_well():
    assert describe({0: sign(1, 5), 1: sign(1, 5)}, {0: sign(4, 5), 1: sign(3, 5)}, asking=0) == ""


def test_a_rank_without_a_new_sign_is_named_with_machine_process_and_step():
    text = describe({0: sign(1, 5), 1: sign(9, 4)}, {0: sign(4, 5), 1: sign(9, 4)}, asking=0)
    assert text == (
        "rank 1 (machine node, process 100) does not answer, last heard of at step 4: "
        "it was killed or stopped, or the network to it is cut"
    )


def test_a_rank_that_lives_but_is_behind_hangs_and_is_named_only_where_none_is_silent():
    before, now = {0: sign(1, 5), 1: sign(1, 4), 2: sign(1, 5)}, {0: sign(4, 5), 1: sign(4, 4), 2: sign(4, 5)}
    assert describe(before, now, 0) == (
        "rank 1 (machine node, process 100) answers but hangs: it trains at step 4, others are at 5"
    )
    now[2] = sign(1, 5)
    text = describe(before, now, 0)
    assert "rank 2" in text
    assert "rank 1" not in text


def test_a_rank_that_waits_for_images_while_the_others_wait_for_it_is_named():
    before, now = ({rank: sign(number, 5) for rank in range(3)} for number in (1, 4))
    now[2] = sign(4, 5, activity="waits for images")
    text = "rank 2 (machine node, process 100) answers but hangs: it waits for images at step 5, others are at 5"
    assert describe(before, now, 0) == text
    assert describe(before, now, 2) == "", "its own sentence must not accuse those that wait for it"


def test_a_rank_that_said_why_it_ended_is_quoted():
    text = describe({0: sign(1, 5), 1: sign(1, 4)}, {0: sign(4, 5), 1: sign(2, 4, "shard x is damaged")}, 0)
    assert text == "rank 1 has ended: shard x is damaged"


def test_the_one_that_asks_is_not_accused_and_many_are_cut():
    everyone = {rank: sign(1, 5) for rank in range(20)}
    text = describe(everyone, everyone, asking=0)
    assert "rank 0" not in text
    assert text.endswith("; and 11 more")


def test_a_failed_collective_becomes_one_sentence_with_its_reason():
    error = lost_process(RuntimeError("Timed out\n waiting 10ms"), lambda: "rank 1 does not answer")
    assert (str(error), error.exit_code) == ("rank 1 does not answer (Timed out waiting 10ms)", 3)
    assert "all processes answer" in str(lost_process(RuntimeError("Connection reset"), lambda: ""))
