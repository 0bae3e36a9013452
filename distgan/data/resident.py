"""Resident mode: the shards decoded once to uint8, drawn by a global permutation that is sliced by rank.

The sequence of images is one permutation per epoch, one after another without a seam: no image is left out, and
global batch number k is the same images in the same order on any number of processes. Where images may be skipped,
good ones stand in their places, the same on every process that could not read the same ones.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from distgan.data.bad_samples import BadSample, SkipBudget
from distgan.data.shards.blocks import Block
from distgan.data.shards.manifest import Shard
from distgan.data.shards.png import decoded
from distgan.data.shards.reader import ShardSelection, scan_pieces
from distgan.utils.errors import DataError
from distgan.utils.progress import track
from distgan.utils.rng import Rows, generator


def load(wanted: ShardSelection, skipped: SkipBudget, show: bool) -> tuple[Tensor, Tensor]:
    """All wanted images: (uint8 [N, 3, size, size], int64 [N]) in host memory.

    Raises DataError where more than may be skipped, or all, cannot be read.
    """
    try:
        images = np.empty((wanted.total, 3, wanted.size, wanted.size), dtype=np.uint8)
        labels = np.empty(wanted.total, dtype=np.int64)
    except (MemoryError, ValueError):
        need = wanted.total * 3 * wanted.size**2 / 2**30
        raise DataError(
            f"{wanted.root} says that it holds {wanted.total:,} images, {need:,.1f} GiB: more than this machine has; "
            "use data.mode=stream"
        ) from None
    starts = np.cumsum([0] + [wanted.count(shard) for shard in wanted.shards])

    def fill(shard: Shard, start: int) -> dict[int, BadSample]:
        """What is wrong, by place; as far as may be skipped."""
        wrong: dict[int, BadSample] = {}
        place = start
        for piece in scan_pieces(wanted, shard):
            here = slice(place, place + len(piece))
            place = here.stop
            if isinstance(piece, Block):
                images[here], labels[here] = piece.images, piece.labels
                continue
            for at, item in enumerate(piece, here.start):
                image = decoded(item, wanted.size)
                if isinstance(image, BadSample):
                    wrong[at] = image
                    if len(wrong) > skipped.limit:
                        return wrong
                else:
                    images[at], labels[at] = image.pixels.transpose(2, 0, 1), image.label
        return wrong

    lost: set[int] = set()
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        try:
            jobs = pool.map(fill, wanted.shards, starts[:-1].tolist())
            shown = track(jobs, len(wanted.shards), "reading images", "shards", enabled=show)
            for wrong, stop in zip(shown, starts[1:].tolist(), strict=True):
                skipped.report(wrong.values())
                lost |= {place for place in wrong if place < stop}  # a shard may say at its end that it is wrong
        except DataError:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if lost:
        _fill_in(images, labels, sorted(lost), wanted)
    return torch.from_numpy(images), torch.from_numpy(labels)


def _fill_in(images: np.ndarray, labels: np.ndarray, lost: list[int], wanted: ShardSelection) -> None:
    """Good images, evenly from among all, to the places of the lost ones."""
    good = np.setdiff1d(np.arange(len(labels)), lost)
    if not len(good):
        raise DataError(f"none of the images of {wanted.root} can be read")
    spare = good[np.arange(len(lost)) * len(good) // len(lost)]
    images[lost], labels[lost] = images[spare], labels[spare]


class Resident:
    """This rank's batches (uint8 [b, 3, H, W], int64 [b]) from images in memory, on the memory's device."""

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
        order = torch.randperm(count, generator=stream)
        if self.images.is_cuda:
            order = order.pin_memory()  # else the host would wait for the copy
        return order.to(self.images.device, non_blocking=True)
