"""Resident mode: the shards decoded once to uint8, drawn by a global permutation that is sliced by rank.

The sequence of pictures is one permutation per epoch, one after another without a seam: no picture is left out, and
global batch number k is the same pictures in the same order on any number of processes.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from distgan.data.manifest import Shard
from distgan.data.reader import Wanted, decode, read_shard
from distgan.progress import track
from distgan.rng import Rows, generator


def load(wanted: Wanted, show: bool) -> tuple[Tensor, Tensor]:
    """All wanted pictures: (uint8 [N, 3, size, size], int64 [N]) in host memory. Raises DataError."""
    images = np.empty((wanted.total, 3, wanted.size, wanted.size), dtype=np.uint8)
    labels = np.empty(wanted.total, dtype=np.int64)
    starts = np.cumsum([0] + [wanted.count(shard) for shard in wanted.shards])

    def fill(shard: Shard, start: int) -> None:
        for place, encoded in enumerate(read_shard(wanted, shard), start):
            images[place] = decode(encoded, wanted.size).transpose(2, 0, 1)
            labels[place] = encoded.label

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        jobs = pool.map(fill, wanted.shards, starts[:-1].tolist())
        for _ in track(jobs, len(wanted.shards), "reading pictures", "shards", enabled=show):
            pass
    return torch.from_numpy(images), torch.from_numpy(labels)


class Resident:
    """This rank's batches (uint8 [b, 3, H, W], int64 [b]) from pictures in memory, on the memory's device."""

    def __init__(self, images: Tensor, labels: Tensor, rows: Rows, seed: int, shuffle: bool) -> None:
        self.images, self.labels, self.rows, self.seed, self.shuffle = images, labels, rows, seed, shuffle
        self._order = functools.lru_cache(maxsize=2)(self._epoch_order)

    def batches(self, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless, from global batch `start` on."""
        while True:
            index = self._index(start)
            yield self.images.index_select(0, index), self.labels.index_select(0, index)
            start += 1

    def _index(self, batch: int) -> Tensor:
        """Places of this rank's rows of a global batch; it may reach over the end of an epoch."""
        place, stop = (batch * self.rows.total + row for row in (self.rows.start, self.rows.stop))
        parts, count = [], len(self.images)
        while place < stop:
            epoch, offset = divmod(place, count)
            part = self._order(epoch)[offset : offset + stop - place]
            parts.append(part)
            place += len(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _epoch_order(self, epoch: int) -> Tensor:
        count = len(self.images)
        if not self.shuffle:
            return torch.arange(count, device=self.images.device)
        stream = generator("cpu", self.seed, "data/order", epoch)
        return torch.randperm(count, generator=stream).to(self.images.device)
