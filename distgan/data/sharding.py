"""Who reads what in stream mode: pure functions of (seed, epoch, rank, worker). No files are touched here.

An epoch is one pass over the shards in a new order, seen as one circle of images that starts at a new place (in
the shards' order: where the last epoch ended). Each rank takes an arc of the same length, a whole number of batches;
each of its workers takes a piece of that arc. What is left at the end of the circle (fewer images than one global
batch) is left out of that epoch, another part every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distgan.utils.rng import key


@dataclass(frozen=True)
class Segment:
    """Images [start, stop) of one shard, counted among the wanted ones."""

    shard: int
    start: int
    stop: int


@dataclass(frozen=True)
class Plan:
    """The reading plan of one rank."""

    counts: tuple[int, ...]
    """Wanted images per shard."""
    batch: int
    """Images per batch of this rank."""
    rank: int
    world: int
    streams: int
    """Workers per rank, at least 1."""
    seed: int
    shuffle: bool

    @property
    def batches_per_epoch(self) -> int:
        """The same for all ranks."""
        return sum(self.counts) // (self.batch * self.world)

    @property
    def left_out(self) -> int:
        """Images that an epoch does not show."""
        return sum(self.counts) % (self.batch * self.world)

    def owner(self, batch: int) -> int:
        """The worker that makes this rank's batch number `batch`, counted over all epochs."""
        return batch % self.streams

    def segments(self, epoch: int, stream: int) -> list[Segment]:
        """What one worker reads in one epoch, in order."""
        first = epoch * self.batches_per_epoch
        turns = [
            self._turns(first + self.batches_per_epoch, lane) - self._turns(first, lane) for lane in range(stream + 1)
        ]
        before, mine = sum(turns[:-1]), turns[-1]
        begin = (self.rank * self.batches_per_epoch + before) * self.batch
        order, offset = self._circle(epoch)
        return cut(self.counts, order, offset + begin, mine * self.batch)

    def _turns(self, batches: int, stream: int) -> int:
        """How many of the first `batches` batches, counted over all epochs, are this worker's."""
        return (batches - stream + self.streams - 1) // self.streams

    def _circle(self, epoch: int) -> tuple[list[int], int]:
        """Order of the shards and the place where the epoch starts."""
        if not self.shuffle:
            return list(range(len(self.counts))), epoch * self.batches_per_epoch * self.batch * self.world
        random = np.random.default_rng(key(self.seed, "data/shards", epoch))
        return random.permutation(len(self.counts)).tolist(), int(random.integers(sum(self.counts)))


def cut(counts: Sequence[int], order: Sequence[int], begin: int, length: int) -> list[Segment]:
    """`length` images of the circle of shards in `order`, from place `begin` on (taken modulo the circle)."""
    segments: list[Segment] = []
    place = begin % sum(counts)
    starts = np.cumsum([0] + [counts[shard] for shard in order])
    turn = int(np.searchsorted(starts, place, side="right")) - 1
    skip = place - int(starts[turn])
    while length:
        shard = order[turn % len(order)]
        take = min(counts[shard] - skip, length)
        if take:
            segments.append(Segment(shard, skip, skip + take))
        length, skip, turn = length - take, 0, turn + 1
    return segments
