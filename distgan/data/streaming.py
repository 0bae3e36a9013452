"""Stream mode: shards are read as training goes, never more than a buffer in memory.

`Stream(...).batches(start)` is endless and begins with batch `start` of this rank, whatever happened before: the order
is a function of (seed, epoch, ranks, workers), and what lies before `start` in the epoch is read past, not decoded.

Where images may be skipped, each keeps its place, and a good image of the same batch is shown there. So the other
places, and the number of batches, are as without damage.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from ctypes import c_byte
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import RawValue
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from distgan.data.bad_samples import BadSample, SkipBudget
from distgan.data.sharding import Plan, Segment
from distgan.data.shards.reader import ShardSelection, read_pieces, scan_pieces
from distgan.data.shards.samples import Piece
from distgan.data.shuffle_buffer import Chunker, DecodedBatch, order, pool, slots
from distgan.utils.counter_rng import IntArray
from distgan.utils.errors import DataError
from distgan.utils.rng import key

OPEN_SHARDS = 4  # read in turns, so that a buffer mixes shards
TURN = 32  # images of a shard at a time
LEAVE = 6.0  # seconds that a worker has to end by itself; DataLoader waits five


class WorkerBatch(NamedTuple):
    """What a worker hands over."""

    images: Tensor
    labels: Tensor
    skipped: list[BadSample]
    """What this worker has not shown in this batch or before it, and not handed over yet."""


@dataclass(frozen=True)
class Stream:
    """This rank's batches (uint8 [b, 3, H, W], int64 [b]) in host memory."""

    wanted: ShardSelection
    plan: Plan
    buffer: int
    workers: int
    pin: bool
    skipped: SkipBudget = field(default_factory=lambda: SkipBudget(0))
    """What could not be read, counted as its batches are taken."""

    def batches(self, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Raises DataError where more than may be skipped cannot be read, also when a worker reads it."""
        with contextlib.closing(self._in_workers(start) if self.workers else _endless(self, start)) as made:
            for item in made:
                self.skipped.report(item.skipped)
                yield item.images, item.labels

    def _in_workers(self, start: int) -> Generator[WorkerBatch, None, None]:
        closing = RawValue("b", 0)  # not an Event: setting one waits for workers that may be gone
        loader = DataLoader(
            _Batches(self, start),
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=4,
            pin_memory=self.pin,
            worker_init_fn=functools.partial(_begin, closing),
        )
        made = iter(loader)  # a name, so that it ends after `finally`: it waits for its workers
        try:
            for item in made:
                if isinstance(item, str):
                    raise DataError(item)
                yield item
        finally:
            closing.value = 1


class _Batches(IterableDataset):
    """What one worker of the loader makes: every `streams`-th batch from `start` on, or the text of an error."""

    def __init__(self, stream: Stream, start: int) -> None:
        self.stream, self.start = stream, start

    def __iter__(self) -> Iterator[WorkerBatch | str]:
        worker = get_worker_info()
        first = self.start + (worker.id if worker else 0)
        try:
            yield from _endless(self.stream, first)
        except DataError as error:
            yield str(error)


def _endless(stream: Stream, first: int) -> Generator[WorkerBatch, None, None]:
    """Batches first, first + streams, first + 2 * streams, ... of this rank.

    A batch without one good image waits for the next that has some.
    """
    skipped = SkipBudget(stream.skipped.limit)
    waiting: list[tuple[DecodedBatch, list[BadSample]]] = []
    for shown in _shown(stream, first):
        waiting.append((shown, skipped.add(shown.bad.values())))
        if len(shown.bad) < len(shown.labels):
            yield from (_made(batch, shown, new) for batch, new in waiting)
            waiting = []
        elif len(waiting) > stream.plan.batches_per_epoch:
            (*_, last) = shown.bad.values()
            raise DataError(f"none of the images of {stream.wanted.root} can be read; the last: {last.sentence}")


def _shown(stream: Stream, first: int) -> Iterator[DecodedBatch]:
    """Each of these batches."""
    plan = stream.plan
    lane = plan.owner(first)
    for epoch in itertools.count(first // plan.batches_per_epoch):
        begin = epoch * plan.batches_per_epoch
        passed = sum(plan.owner(batch) == lane for batch in range(begin, min(first, begin + plan.batches_per_epoch)))
        yield from _of_epoch(stream, epoch, lane, passed)


def _of_epoch(stream: Stream, epoch: int, lane: int, passed: int) -> Iterator[DecodedBatch]:
    """The lane's batches of one epoch: several shards read in turns, then a shuffle buffer.

    passed: the first ones, which are not shown and so not decoded.
    """
    plan, segments = stream.plan, stream.plan.segments(epoch, lane)
    batches = sum(segment.stop - segment.start for segment in segments) // plan.batch
    held = slots(batches, plan.batch, stream.buffer if plan.shuffle else 0)
    waiting = pool(stream.wanted.layout, held, stream.wanted.size)
    arriving = Chunker(_in_turns(stream, segments, OPEN_SHARDS if plan.shuffle else 1))
    random = np.random.default_rng(key(plan.seed, "data/buffer", epoch, plan.rank, lane))
    in_order = itertools.repeat(np.arange(plan.batch), batches)

    def fill(places: IntArray) -> None:
        done = 0
        for part in arriving.take(len(places)):
            waiting.put(places[done : done + len(part)], part)
            done += len(part)

    fill(np.arange(held))
    for number, places in enumerate(order(batches, plan.batch, held, random) if plan.shuffle else in_order):
        if number >= passed:
            yield waiting.take(places)
        fill(places)


def _in_turns(stream: Stream, segments: list[Segment], at_a_time: int) -> Iterator[Piece]:
    """The images of all segments, from some of them in turns."""
    ahead = deque(Chunker(_read(stream, segment)) for segment in segments)
    reading = deque(ahead.popleft() for _ in range(min(at_a_time, len(ahead))))
    while reading:
        left = TURN
        for part in reading[0].take(TURN):
            left -= len(part)
            yield part
        if not left:
            reading.rotate(-1)
            continue
        reading.popleft()
        if ahead:
            reading.append(ahead.popleft())


def _read(stream: Stream, segment: Segment) -> Iterator[Piece]:
    """As many images as the segment says. Raises DataError where nothing may be skipped."""
    read = scan_pieces if stream.skipped.limit else read_pieces
    place = 0
    for piece in read(stream.wanted, stream.wanted.shards[segment.shard]):
        yield piece[max(segment.start - place, 0) : segment.stop - place]
        place += len(piece)
        if place >= segment.stop:
            return


def _made(shown: DecodedBatch, good: DecodedBatch, skipped: list[BadSample]) -> WorkerBatch:
    """A batch with good images, those of `good` in turn, in the places of its bad ones."""
    if shown.bad:
        spare = np.setdiff1d(np.arange(len(good.labels)), list(good.bad))
        bad, chosen = list(shown.bad), np.resize(spare, len(shown.bad))
        shown.images[bad], shown.labels[bad] = good.images[chosen], good.labels[chosen]
    return WorkerBatch(torch.from_numpy(shown.images), torch.from_numpy(shown.labels), skipped)


def _begin(closing: c_byte, worker: int) -> None:
    """Before a worker's first batch."""
    _ignore_signals(worker)
    threading.Thread(target=_leave, args=(closing, os.getppid()), daemon=True).start()


def _ignore_signals(_worker: int) -> None:
    """A stop is the trainer's to answer; its workers end with it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _leave(closing: c_byte, trainer: int) -> None:
    """Ends a worker that waits for a server or a disk when nobody waits for the worker any more."""
    while not closing.value and os.getppid() == trainer:
        time.sleep(1)
    time.sleep(LEAVE)
    os._exit(0)
