"""Stream mode: shards are read as training goes, never more than a buffer in memory.

`Stream(...).batches(start)` is endless and begins with batch `start` of this rank, whatever happened before: the order
is a function of (seed, epoch, ranks, workers), and what lies before `start` in the epoch is read past, not decoded.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from distgan.data.plan import Plan, Segment
from distgan.data.reader import Encoded, Wanted, decode, read_shard
from distgan.errors import DataError
from distgan.rng import key

OPEN_SHARDS = 4  # read in turns, so that a buffer mixes shards


@dataclass(frozen=True)
class Stream:
    """This rank's batches (uint8 [b, 3, H, W], int64 [b]) in host memory."""

    wanted: Wanted
    plan: Plan
    buffer: int
    workers: int
    pin: bool

    def batches(self, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Raises DataError where a shard or a picture cannot be read, also when a worker reads it."""
        loader = DataLoader(
            _Batches(self, start),
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
            pin_memory=self.pin,
            worker_init_fn=_ignore_signals,
        )
        for item in loader:
            if isinstance(item, str):
                raise DataError(item)
            yield item[0], item[1]


class _Batches(IterableDataset):
    """What one worker of the loader makes: every `streams`-th batch from `start` on, or the text of an error."""

    def __init__(self, stream: Stream, start: int) -> None:
        self.stream, self.start = stream, start

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor] | str]:
        worker = get_worker_info()
        first = self.start + (worker.id if worker else 0)
        try:
            yield from _endless(self.stream, first)
        except DataError as error:
            yield str(error)


def _endless(stream: Stream, first: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches first, first + streams, first + 2 * streams, ... of this rank."""
    plan = stream.plan
    lane = plan.owner(first)
    for epoch in itertools.count(first // plan.batches_per_epoch):
        begin = epoch * plan.batches_per_epoch
        passed = sum(plan.owner(batch) == lane for batch in range(begin, min(first, begin + plan.batches_per_epoch)))
        pictures = _mixed(stream, epoch, lane) if plan.shuffle else _in_order(stream, plan.segments(epoch, lane))
        pictures = itertools.islice(pictures, passed * plan.batch, None)
        while chunk := list(itertools.islice(pictures, plan.batch)):
            yield _collate(chunk, stream.wanted.size)


def _mixed(stream: Stream, epoch: int, lane: int) -> Iterator[Encoded]:
    """The lane's pictures of one epoch: several shards read in turns, then a shuffle buffer."""
    random = np.random.default_rng(key(stream.plan.seed, "data/buffer", epoch, stream.plan.rank, lane))
    waiting = [_read(stream, segment) for segment in stream.plan.segments(epoch, lane)]
    reading, waiting = waiting[:OPEN_SHARDS], waiting[OPEN_SHARDS:]
    buffer: list[Encoded] = []
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


def _in_order(stream: Stream, segments: list[Segment]) -> Iterator[Encoded]:
    return itertools.chain.from_iterable(_read(stream, segment) for segment in segments)


def _read(stream: Stream, segment: Segment) -> Iterator[Encoded]:
    return itertools.islice(read_shard(stream.wanted, stream.wanted.shards[segment.shard]), segment.start, segment.stop)


def _collate(chunk: list[Encoded], size: int) -> tuple[Tensor, Tensor]:
    pixels = np.stack([decode(encoded, size) for encoded in chunk])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    return images, torch.tensor([encoded.label for encoded in chunk])


def _ignore_signals(_worker: int) -> None:
    """A stop is the trainer's to answer; its workers end with it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
