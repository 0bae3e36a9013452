"""The reading plan: every image at most once an epoch, the same number of batches for all."""

import dataclasses
import itertools
import random

import pytest

from distgan.data.sharding import ReadPlan, Segment, cut_segments


def _plans(counts, batch, world, streams, seed=0, shuffle=True):
    return [ReadPlan(tuple(counts), batch, rank, world, streams, seed, shuffle) for rank in range(world)]


def _images(segments):
    return [(segment.shard, position) for segment in segments for position in range(segment.start, segment.stop)]


def _cases(count):
    """Random plans: few and many shards, uneven and single-image ones, more readers than shards."""
    draw = random.Random(0)
    for _ in range(count):
        counts = [draw.choice([1, 2, draw.randint(1, 60)]) for _ in range(draw.choice([1, 2, draw.randint(1, 12)]))]
        yield (
            counts,
            draw.randint(1, 8),
            draw.randint(1, 5),
            draw.randint(1, 4),
            draw.randint(0, 9),
            draw.random() < 0.7,
        )


def test_the_readers_of_an_epoch_share_out_all_images_but_the_left_out_ones():
    for counts, batch, world, streams, seed, shuffle in _cases(400):
        plans = _plans(counts, batch, world, streams, seed, shuffle)
        total = sum(counts)
        assert {plan.batches_per_epoch for plan in plans} == {total // (batch * world)}
        assert {plan.left_out for plan in plans} == {total - plans[0].batches_per_epoch * batch * world}
        for epoch in (0, 1, 5):
            read = [
                image for plan in plans for stream in range(streams) for image in _images(plan.segments(epoch, stream))
            ]
            assert len(read) == len(set(read)) == total - plans[0].left_out
            assert all(0 <= position < counts[shard] for shard, position in read)


def test_each_reader_gets_the_images_of_the_batches_that_it_owns():
    for counts, batch, world, streams, seed, shuffle in _cases(200):
        plan = _plans(counts, batch, world, streams, seed, shuffle)[-1]
        for epoch in (0, 3):
            numbers = range(epoch * plan.batches_per_epoch, (epoch + 1) * plan.batches_per_epoch)
            for stream in range(streams):
                owned = sum(plan.worker_of(number) == stream for number in numbers)
                assert len(_images(plan.segments(epoch, stream))) == owned * batch


def test_segments_are_not_empty_and_no_two_in_a_row_are_one():
    for counts, batch, world, streams, seed, shuffle in _cases(200):
        for plan in _plans(counts, batch, world, streams, seed, shuffle):
            for stream in range(streams):
                segments = plan.segments(2, stream)
                assert all(segment.start < segment.stop for segment in segments)
                joined = [a for a, b in itertools.pairwise(segments) if (a.shard, a.stop) == (b.shard, b.start)]
                assert joined == []


def test_a_plan_is_a_pure_function():
    for counts, batch, world, streams, seed, shuffle in _cases(50):
        one, two = (_plans(counts, batch, world, streams, seed, shuffle)[0] for _ in range(2))
        later = one.segments(7, 0)
        assert [one.segments(epoch, 0) for epoch in range(8)] == [two.segments(epoch, 0) for epoch in range(8)]
        assert one.segments(7, 0) == later


def test_the_order_differs_by_epoch_and_by_seed():
    plan = _plans([30] * 6, 10, 1, 1)[0]
    orders = [tuple(plan.segments(epoch, 0)) for epoch in range(20)]
    assert len(set(orders)) == 20
    assert tuple(dataclasses.replace(plan, seed=1).segments(0, 0)) not in orders


@pytest.mark.parametrize("shuffle", [True, False])
def test_other_images_are_left_out_every_epoch(shuffle):
    plans = _plans([10, 10, 7], 4, 2, 2, shuffle=shuffle)  # 27 images, 3 left out
    everything = set(_images([Segment(shard, 0, count) for shard, count in enumerate([10, 10, 7])]))
    left_out = []
    for epoch in range(200):
        read = {image for plan in plans for stream in (0, 1) for image in _images(plan.segments(epoch, stream))}
        left_out.append(frozenset(everything - read))
    assert {len(images) for images in left_out} == {3}
    assert frozenset().union(*left_out) == everything
    if not shuffle:  # what is left is what the next epoch begins with
        assert len(set(left_out)) == 27 // 3


def test_without_shuffling_one_rank_reads_the_shards_in_order_wrapped_around():
    counts = [5, 1, 6]
    plan = _plans(counts, 5, 1, 1, shuffle=False)[0]  # 12 images: two batches an epoch, 2 left for the next
    read = [image for epoch in range(6) for image in _images(plan.segments(epoch, 0))]
    circle = _images([Segment(shard, 0, count) for shard, count in enumerate(counts)])
    assert read == circle * 5


def test_cut_wraps_around_the_circle():
    assert cut_segments([3, 2, 4], [2, 0, 1], 0, 9) == [Segment(2, 0, 4), Segment(0, 0, 3), Segment(1, 0, 2)]
    assert cut_segments([3, 2, 4], [2, 0, 1], 5, 3) == [Segment(0, 1, 3), Segment(1, 0, 1)]
    assert cut_segments([3, 2, 4], [2, 0, 1], 8, 3) == [Segment(1, 1, 2), Segment(2, 0, 2)]
    assert cut_segments([3, 2, 4], [2, 0, 1], 13, 1) == cut_segments([3, 2, 4], [2, 0, 1], 4, 1) == [Segment(0, 0, 1)]
    assert cut_segments([3], [0], 2, 3) == [Segment(0, 2, 3), Segment(0, 0, 2)]
    assert cut_segments([3, 2], [0, 1], 1, 0) == []


def test_an_epoch_is_nothing_where_there_is_less_than_a_batch():
    plan = _plans([3], 2, 2, 1)[0]
    assert (plan.batches_per_epoch, plan.left_out) == (0, 3)
    assert plan.segments(0, 0) == []
