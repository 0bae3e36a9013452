"""Stream mode: shards are read as training goes, never more than a buffer in memory.

`Stream(...).batches(start)` is endless and begins with batch `start` of this rank, whatever happened before: the order
is a function of (seed, epoch, ranks, workers), and what lies before `start` in the epoch is read past, not decoded.

Where pictures may be skipped, each keeps its place, and a good picture of the same batch is shown there. So the other
places, and the number of batches, are as without damage.
"""

from __future__ import annotations

import functools
import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from ctypes import c_byte
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import RawValue
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from distgan.data.decode import Encoded, Picture, decoded
from distgan.data.plan import Plan, Segment
from distgan.data.reader import Wanted, read_shard, scan
from distgan.data.skipped import Bad, Skipped
from distgan.errors import DataError
from distgan.rng import key

OPEN_SHARDS = 4  # read in turns, so that a buffer mixes shards
LEAVE = 6.0  # seconds that a worker has to end by itself; DataLoader waits five


class Made(NamedTuple):
    """What a worker hands over."""

    images: Tensor
    labels: Tensor
    skipped: list[Bad]
    """What this worker has not shown in this batch or before it, and not handed over yet."""


@dataclass(frozen=True)
class Stream:
    """This rank's batches (uint8 [b, 3, H, W], int64 [b]) in host memory."""

    wanted: Wanted
    plan: Plan
    buffer: int
    workers: int
    pin: bool
    skipped: Skipped = field(default_factory=lambda: Skipped(0))
    """What could not be read, counted as its batches are taken."""

    def batches(self, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Raises DataError where more than may be skipped cannot be read, also when a worker reads it."""
        closing = RawValue("b", 0)  # not an Event: setting one waits for workers that may be gone
        loader = DataLoader(
            _Batches(self, start),
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
            pin_memory=self.pin,
            worker_init_fn=functools.partial(_begin, closing),
        )
        made = iter(loader)  # a name, so that it ends after `finally`: it waits for its workers
        try:
            for item in made:
                if isinstance(item, str):
                    raise DataError(item)
                self.skipped.report(item.skipped)
                yield item.images, item.labels
        finally:
            closing.value = 1


class _Batches(IterableDataset):
    """What one worker of the loader makes: every `streams`-th batch from `start` on, or the text of an error."""

    def __init__(self, stream: Stream, start: int) -> None:
        self.stream, self.start = stream, start

    def __iter__(self) -> Iterator[Made | str]:
        worker = get_worker_info()
        first = self.start + (worker.id if worker else 0)
        try:
            yield from _endless(self.stream, first)
        except DataError as error:
            yield str(error)


def _endless(stream: Stream, first: int) -> Iterator[Made]:
    """Batches first, first + streams, first + 2 * streams, ... of this rank.

    A batch without one good picture waits for the next that has some.
    """
    skipped = Skipped(stream.skipped.limit)
    waiting: list[tuple[list[Picture | Bad], list[Bad]]] = []
    for chunk in _chunks(stream, first):
        shown = [decoded(item, stream.wanted.size) for item in chunk]
        bad = [item for item in shown if isinstance(item, Bad)]
        waiting.append((shown, skipped.add(bad)))
        if good := [item for item in shown if not isinstance(item, Bad)]:
            yield from (_collate(pictures, good, new) for pictures, new in waiting)
            waiting = []
        elif len(waiting) > stream.plan.batches_per_epoch:
            raise DataError(f"none of the pictures of {stream.wanted.root} can be read; the last: {bad[-1].sentence}")


def _chunks(stream: Stream, first: int) -> Iterator[list[Encoded | Bad]]:
    """The pictures of each of these batches, not yet decoded."""
    plan = stream.plan
    lane = plan.owner(first)
    for epoch in itertools.count(first // plan.batches_per_epoch):
        begin = epoch * plan.batches_per_epoch
        passed = sum(plan.owner(batch) == lane for batch in range(begin, min(first, begin + plan.batches_per_epoch)))
        pictures = _mixed(stream, epoch, lane) if plan.shuffle else _in_order(stream, plan.segments(epoch, lane))
        pictures = itertools.islice(pictures, passed * plan.batch, None)
        while chunk := list(itertools.islice(pictures, plan.batch)):
            yield chunk


def _mixed(stream: Stream, epoch: int, lane: int) -> Iterator[Encoded | Bad]:
    """The lane's pictures of one epoch: several shards read in turns, then a shuffle buffer."""
    random = np.random.default_rng(key(stream.plan.seed, "data/buffer", epoch, stream.plan.rank, lane))
    waiting = [_read(stream, segment) for segment in stream.plan.segments(epoch, lane)]
    reading, waiting = waiting[:OPEN_SHARDS], waiting[OPEN_SHARDS:]
    buffer: list[Encoded | Bad] = []
    while reading:
        turn = int(random.integers(len(reading)))
        picture = next(reading[turn], None)
        if picture is None:
            reading[turn : turn + 1] = [waiting.pop(0)] if waiting else []
        elif len(buffer) < stream.buffer:
            buffer.append(picture)
        else:
            place = int(random.integers(len(buffer)))
            buffer[place], picture = picture, buffer[place]
            yield picture
    for place in random.permutation(len(buffer)):
        yield buffer[place]


def _in_order(stream: Stream, segments: list[Segment]) -> Iterator[Encoded | Bad]:
    return itertools.chain.from_iterable(_read(stream, segment) for segment in segments)


def _read(stream: Stream, segment: Segment) -> Iterator[Encoded | Bad]:
    """As many as the segment says. Raises DataError where nothing may be skipped."""
    read = scan if stream.skipped.limit else read_shard
    return itertools.islice(read(stream.wanted, stream.wanted.shards[segment.shard]), segment.start, segment.stop)


def _collate(shown: list[Picture | Bad], good: list[Picture], skipped: list[Bad]) -> Made:
    """A batch with good pictures, in turn, in the places of bad ones."""
    spare = itertools.cycle(good)
    batch = [next(spare) if isinstance(item, Bad) else item for item in shown]
    images = torch.from_numpy(np.stack([picture.pixels for picture in batch])).permute(0, 3, 1, 2).contiguous()
    return Made(images, torch.tensor([picture.label for picture in batch]), skipped)


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
