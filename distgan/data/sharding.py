"""The division of the images among ranks and workers in stream mode: pure functions, which touch no file.

An epoch is one pass over the shards in a new order, seen as a circle of images that starts at a new position (without
shuffling: where the last epoch ended). Each rank takes an arc of the same length, a whole number of batches; each of
its workers takes a part of that arc. The rest of the circle, fewer images than one global batch, is left out of that
epoch; it is another part every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distgan.utils.rng import key


@dataclass(frozen=True)
class Segment:
    """Images [start, stop) of one shard, counted among the selected ones."""

    shard: int
    """Index of the shard in the selection."""
    start: int
    stop: int


@dataclass(frozen=True)
class ReadPlan:
    """The images that one rank reads, and in which order: a function of (seed, epoch, rank, worker)."""

    counts: tuple[int, ...]
    """Selected images per shard."""
    batch: int
    """Images per batch of this rank."""
    rank: int
    world_size: int
    """Number of ranks."""
    workers: int
    """Workers of this rank, at least 1: without worker processes the main process is the one worker."""
    seed: int
    shuffle: bool

    @property
    def batches_per_epoch(self) -> int:
        """Batches of an epoch, the same number for all ranks."""
        return sum(self.counts) // (self.batch * self.world_size)

    @property
    def left_out(self) -> int:
        """Images that an epoch does not show."""
        return sum(self.counts) % (self.batch * self.world_size)

    def worker_of(self, batch: int) -> int:
        """Returns the worker that makes this rank's batch number `batch`, counted over all epochs."""
        return batch % self.workers

    def segments(self, epoch: int, worker: int) -> list[Segment]:
        """Returns the images that a worker reads in an epoch, in order."""
        first = epoch * self.batches_per_epoch
        last = first + self.batches_per_epoch
        batches = [self._batches_of(other, last) - self._batches_of(other, first) for other in range(worker + 1)]
        begin = (self.rank * self.batches_per_epoch + sum(batches[:-1])) * self.batch
        order, offset = self._circle(epoch)
        return cut_segments(self.counts, order, offset + begin, batches[-1] * self.batch)

    def _batches_of(self, worker: int, batches: int) -> int:
        """Returns how many of the first `batches` batches, counted over all epochs, a worker makes."""
        return (batches - worker + self.workers - 1) // self.workers

    def _circle(self, epoch: int) -> tuple[list[int], int]:
        """Returns the order of the shards, and the position in the circle of images where an epoch starts."""
        if not self.shuffle:
            return list(range(len(self.counts))), epoch * self.batches_per_epoch * self.batch * self.world_size
        random = np.random.default_rng(key(self.seed, "data/shards", epoch))
        return random.permutation(len(self.counts)).tolist(), int(random.integers(sum(self.counts)))


def cut_segments(counts: Sequence[int], order: Sequence[int], begin: int, length: int) -> list[Segment]:
    """Returns `length` images of a circle of shards, from position `begin` on.

    counts: images per shard; order: indices of the shards along the circle; begin: taken modulo the circle's length.
    """
    segments: list[Segment] = []
    position = begin % sum(counts)
    starts = np.cumsum([0] + [counts[shard] for shard in order])
    turn = int(np.searchsorted(starts, position, side="right")) - 1
    skip = position - int(starts[turn])
    while length:
        shard = order[turn % len(order)]
        count = min(counts[shard] - skip, length)
        if count:
            segments.append(Segment(shard, skip, skip + count))
        length, skip, turn = length - count, 0, turn + 1
    return segments
