"""Stream mode: shards are read while training goes on, with never more than a buffer of images in memory.

`Stream(...).batches(start)` is endless and begins with batch `start` of this rank: the order is a function of (seed,
epoch, ranks, workers), and the images before `start` in the epoch are read, but not decoded.

Where images may be skipped, a good image of the same batch takes the position of each bad one. So the other positions,
and the number of batches, are the same as without damage.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from distgan.data.bad_samples import BadSample, SkipBudget
from distgan.data.sharding import ReadPlan, Segment
from distgan.data.shards.reader import read_pieces, scan_pieces
from distgan.data.shards.samples import Piece
from distgan.data.shards.selection import ShardSelection
from distgan.data.shuffle_buffer import Chunker, DecodedBatch, batch_slots, build_buffer, slot_count
from distgan.data.workers import GiveUp, batches_of_workers
from distgan.utils.counter_rng import IntArray
from distgan.utils.errors import DataError
from distgan.utils.rng import key

OPEN_SHARDS = 4  # read in turns, so that a buffer mixes shards
TURN_IMAGES = 32  # read from a shard in one turn


class WorkerBatch(NamedTuple):
    """A batch as a worker hands it over."""

    images: Tensor
    labels: Tensor
    skipped: list[BadSample]
    """Images that this worker has left out since the last batch that it handed over."""


@dataclass(frozen=True)
class Stream:
    """Batches of one rank (uint8 [b, channels, H, W], int64 [b]) in host memory."""

    selection: ShardSelection
    plan: ReadPlan
    buffer_size: int
    """Images in the shuffle buffer of each worker."""
    workers: int
    """Worker processes; 0: the main process reads."""
    pin_memory: bool
    skip_budget: SkipBudget = field(default_factory=lambda: SkipBudget(0))
    """Counts the images that could not be read, as their batches are taken."""

    def batches(self, start: int, give_up: GiveUp) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yields batches without end, from this rank's batch `start` on.

        Raises DataError if more images than may be skipped cannot be read, by this process or by a worker, and Stalled
        (see workers.py).
        """
        make = functools.partial(_batches_from, self)
        batches = make(start)
        if self.workers:
            batches = batches_of_workers(make, start, self.workers, self.pin_memory, give_up)
        with contextlib.closing(batches):
            for batch in batches:
                self.skip_budget.report(batch.skipped)
                yield batch.images, batch.labels


def _batches_from(stream: Stream, first: int) -> Generator[WorkerBatch, None, None]:
    """Yields batches first, first + workers, first + 2 * workers, ... of this rank.

    A batch without a good image waits for the next batch with one. Raises DataError if there is none in an epoch.
    """
    skip_budget = SkipBudget(stream.skip_budget.limit)
    waiting: list[tuple[DecodedBatch, list[BadSample]]] = []
    for batch in _decoded_batches_from(stream, first):
        waiting.append((batch, skip_budget.add(batch.bad.values())))
        if len(batch.bad) < len(batch.labels):
            yield from (_without_bad(earlier, batch, skipped) for earlier, skipped in waiting)
            waiting = []
        elif len(waiting) > stream.plan.batches_per_epoch:
            (*_, last) = batch.bad.values()
            raise DataError(f"none of the images of {stream.selection.location} can be read; the last: {last.message}")


def _decoded_batches_from(stream: Stream, first: int) -> Iterator[DecodedBatch]:
    """Yields the same batches with the bad images still in them."""
    plan = stream.plan
    worker = plan.worker_of(first)
    for epoch in itertools.count(first // plan.batches_per_epoch):
        start = epoch * plan.batches_per_epoch
        before = range(start, min(first, start + plan.batches_per_epoch))
        yield from _epoch_batches(stream, epoch, worker, sum(plan.worker_of(batch) == worker for batch in before))


def _epoch_batches(stream: Stream, epoch: int, worker: int, passed: int) -> Iterator[DecodedBatch]:
    """Yields the batches of a worker in one epoch: several shards are read in turns, then a shuffle buffer mixes them.

    passed: number of batches at the start that are not yielded, and so not decoded.
    """
    plan, segments = stream.plan, stream.plan.segments(epoch, worker)
    batches = sum(segment.stop - segment.start for segment in segments) // plan.batch
    slots = slot_count(batches, plan.batch, stream.buffer_size if plan.shuffle else 0)
    buffer = build_buffer(stream.selection.layout, slots, stream.selection.form)
    arriving = Chunker(_interleave(stream, segments, OPEN_SHARDS if plan.shuffle else 1))
    random = np.random.default_rng(key(plan.seed, "data/buffer", epoch, plan.rank, worker))
    in_order = itertools.repeat(np.arange(plan.batch), batches)

    def fill(free: IntArray) -> None:
        done = 0
        for chunk in arriving.chunks(len(free)):
            buffer.put(free[done : done + len(chunk)], chunk)
            done += len(chunk)

    fill(np.arange(slots))
    for number, chosen in enumerate(batch_slots(batches, plan.batch, slots, random) if plan.shuffle else in_order):
        if number >= passed:
            yield buffer.get(chosen)
        fill(chosen)


def _interleave(stream: Stream, segments: list[Segment], open_shards: int) -> Iterator[Piece]:
    """Yields the images of all segments: TURN_IMAGES at a time, from `open_shards` segments in turns."""
    ahead = deque(Chunker(_read_segment(stream, segment)) for segment in segments)
    reading = deque(ahead.popleft() for _ in range(min(open_shards, len(ahead))))
    while reading:
        missing = TURN_IMAGES
        for chunk in reading[0].chunks(TURN_IMAGES):
            missing -= len(chunk)
            yield chunk
        if not missing:
            reading.rotate(-1)
            continue
        reading.popleft()
        if ahead:
            reading.append(ahead.popleft())


def _read_segment(stream: Stream, segment: Segment) -> Iterator[Piece]:
    """Yields the images of a segment. Raises DataError for a bad one if none may be skipped."""
    read = scan_pieces if stream.skip_budget.limit else read_pieces
    position = 0
    for piece in read(stream.selection, stream.selection.shards[segment.shard]):
        yield piece[max(segment.start - position, 0) : segment.stop - position]
        position += len(piece)
        if position >= segment.stop:
            return


def _without_bad(batch: DecodedBatch, good: DecodedBatch, skipped: list[BadSample]) -> WorkerBatch:
    """Returns a batch with good images, those of `good` in turn, in the rows of its bad ones."""
    if batch.bad:
        choices = np.setdiff1d(np.arange(len(good.labels)), list(good.bad))
        rows, chosen = list(batch.bad), np.resize(choices, len(batch.bad))
        batch.images[rows], batch.labels[rows] = good.images[chosen], good.labels[chosen]
    return WorkerBatch(torch.from_numpy(batch.images), torch.from_numpy(batch.labels), skipped)
