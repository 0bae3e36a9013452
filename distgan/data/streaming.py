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
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from ctypes import c_byte
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import RawValue
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from distgan.data.bad_samples import BadSample, SkipBudget
from distgan.data.sharding import ReadPlan, Segment
from distgan.data.shards.reader import ShardSelection, read_pieces, scan_pieces
from distgan.data.shards.samples import Piece
from distgan.data.shuffle_buffer import Chunker, DecodedBatch, batch_slots, build_buffer, slot_count
from distgan.utils.counter_rng import IntArray
from distgan.utils.errors import DataError
from distgan.utils.rng import key

OPEN_SHARDS = 4  # read in turns, so that a buffer mixes shards
TURN_IMAGES = 32  # read from a shard in one turn
EXIT_SECONDS = 6.0  # for a worker to end by itself; DataLoader waits five


class WorkerBatch(NamedTuple):
    """A batch as a worker hands it over."""

    images: Tensor
    labels: Tensor
    skipped: list[BadSample]
    """Images that this worker has left out since the last batch that it handed over."""


@dataclass(frozen=True)
class Stream:
    """Batches of one rank (uint8 [b, 3, H, W], int64 [b]) in host memory."""

    selection: ShardSelection
    plan: ReadPlan
    buffer_size: int
    """Images in the shuffle buffer of each worker."""
    workers: int
    """Worker processes; 0: the main process reads."""
    pin_memory: bool
    skip_budget: SkipBudget = field(default_factory=lambda: SkipBudget(0))
    """Counts the images that could not be read, as their batches are taken."""

    def batches(self, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields batches without end, from this rank's batch `start` on.

        Raises DataError if more images than may be skipped cannot be read, by this process or by a worker.
        """
        batches = self._batches_of_workers(start) if self.workers else _batches_from(self, start)
        with contextlib.closing(batches):
            for batch in batches:
                self.skip_budget.report(batch.skipped)
                yield batch.images, batch.labels

    def _batches_of_workers(self, start: int) -> Generator[WorkerBatch, None, None]:
        closing = RawValue("b", 0)  # not an Event: setting one waits for workers that may have died
        loader = DataLoader(
            _WorkerDataset(self, start),
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=4,
            pin_memory=self.pin_memory,
            worker_init_fn=functools.partial(_start_worker, closing),
        )
        items = iter(loader)  # has a name, so that it ends after `finally`: it waits for its workers
        try:
            for item in items:
                if isinstance(item, str):
                    raise DataError(item)
                yield item
        finally:
            closing.value = 1


class _WorkerDataset(IterableDataset[Any]):
    """The batches that one worker of the loader makes, or the text of an error."""

    def __init__(self, stream: Stream, start: int) -> None:
        self.stream, self.start = stream, start

    def __iter__(self) -> Iterator[WorkerBatch | str]:
        worker = get_worker_info()
        first = self.start + (worker.id if worker else 0)
        try:
            yield from _batches_from(self.stream, first)
        except DataError as error:
            yield str(error)


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
    buffer = build_buffer(stream.selection.layout, slots, stream.selection.size)
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


def _start_worker(closing: c_byte, worker: int) -> None:
    """Prepares a worker process before its first batch."""
    _ignore_signals(worker)
    threading.Thread(target=_exit_with_trainer, args=(closing, os.getppid()), daemon=True).start()


def _ignore_signals(_worker: int) -> None:
    """Ignores the signals that stop the trainer, which ends its workers itself."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _exit_with_trainer(closing: c_byte, trainer: int) -> None:
    """Ends a worker that still waits for a server or a disk after the trainer has closed its batches or ended."""
    while not closing.value and os.getppid() == trainer:
        time.sleep(1)
    time.sleep(EXIT_SECONDS)
    os._exit(0)
