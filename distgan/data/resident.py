"""Resident mode: all images decoded once to uint8, drawn by a global permutation that is divided among the ranks.

The sequence of images is one permutation per epoch, one after another without a gap: no image is left out, and global
batch k is the same images in the same order on any number of processes. Where images may be skipped, good ones take
their positions, the same ones on every process that could not read the same images.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from distgan.data.bad_samples import BadSample, SkipBudget
from distgan.data.shards.blocks import Block
from distgan.data.shards.decode import try_decode
from distgan.data.shards.manifest import Shard
from distgan.data.shards.reader import scan_pieces
from distgan.data.shards.selection import ShardSelection
from distgan.data.shuffle_buffer import shape_of
from distgan.data.workers import GiveUp
from distgan.utils.errors import DataError
from distgan.utils.progress import track
from distgan.utils.rng import Rows, generator

MAX_THREADS = 4  # that read shards


def load_images(selection: ShardSelection, skip_budget: SkipBudget, progress: bool) -> tuple[Tensor, Tensor]:
    """Loads all selected images: (uint8 [N, channels, size, size], int64 [N]) in host memory.

    Raises DataError if more images than may be skipped, or all of them, cannot be read.
    """
    images, labels = _allocate(selection)
    stops = np.cumsum([selection.count(shard) for shard in selection.shards]).tolist()
    ranges = [slice(start, stop) for start, stop in zip([0, *stops], stops, strict=False)]

    def load(shard: Shard, rows: slice) -> dict[int, BadSample]:
        return _load_shard(selection, shard, images[rows], labels[rows], skip_budget.limit)

    lost: list[int] = []
    with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as pool:
        try:
            loaded = pool.map(load, selection.shards, ranges)
            shown = track(loaded, len(ranges), "reading images", "shards", enabled=progress)
            for bad, rows in zip(shown, ranges, strict=True):
                skip_budget.report(bad.values())
                lost += [rows.start + index for index in bad if rows.start + index < rows.stop]
        except DataError:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if lost:
        _replace_lost(images, labels, lost, selection)
    return torch.from_numpy(images), torch.from_numpy(labels)


def _allocate(selection: ShardSelection) -> tuple[np.ndarray, np.ndarray]:
    """Returns empty arrays for all images and labels. Raises DataError if there is not enough memory."""
    try:
        images = np.empty(shape_of(selection.total, selection.form), dtype=np.uint8)
        return images, np.empty(selection.total, dtype=np.int64)
    except (MemoryError, ValueError):
        need = selection.total * selection.image_bytes / 2**30
        raise DataError(
            f"{selection.location} says that it holds {selection.total:,} images, {need:,.1f} GiB: more than this "
            "machine has; use data.mode=stream"
        ) from None


def _load_shard(
    selection: ShardSelection, shard: Shard, images: np.ndarray, labels: np.ndarray, max_bad: int
) -> dict[int, BadSample]:
    """Decodes a shard into its rows of the arrays. Returns the bad images by row, one more than `max_bad` at most.

    The last row may lie behind the shard's: a shard with too many images ends with a BadSample.
    """
    bad: dict[int, BadSample] = {}
    row = 0
    for piece in scan_pieces(selection, shard):
        start, row = row, row + len(piece)
        if isinstance(piece, Block):
            images[start:row], labels[start:row] = piece.images, piece.labels
            continue
        for index, item in enumerate(piece, start):
            image = try_decode(item, selection.form)
            if isinstance(image, BadSample):
                bad[index] = image
                if len(bad) > max_bad:
                    return bad
            else:
                images[index], labels[index] = image.pixels.transpose(2, 0, 1), image.label
    return bad


def _replace_lost(images: np.ndarray, labels: np.ndarray, lost: list[int], selection: ShardSelection) -> None:
    """Copies good images, evenly spread over all of them, to the rows of the lost ones. Raises DataError."""
    good = np.setdiff1d(np.arange(len(labels)), lost)
    if not len(good):
        raise DataError(f"none of the images of {selection.location} can be read")
    chosen = good[np.arange(len(lost)) * len(good) // len(lost)]
    images[lost], labels[lost] = images[chosen], labels[chosen]


class Resident:
    """Batches of one rank (uint8 [b, channels, H, W], int64 [b]) from images in memory, on the device of the memory."""

    def __init__(self, images: Tensor, labels: Tensor, rows: Rows, seed: int, shuffle: bool) -> None:
        self.images, self.labels, self.rows, self.seed, self.shuffle = images, labels, rows, seed, shuffle
        self._order = functools.lru_cache(maxsize=2)(self._epoch_order)

    def batches(self, start: int, _give_up: GiveUp) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yields batches without end, from global batch `start` on. Nothing is waited for."""
        while True:
            indices = self._indices(start)
            yield self.images.index_select(0, indices), self.labels.index_select(0, indices)
            start += 1

    def _indices(self, batch: int) -> Tensor:
        """Returns the images of this rank's rows of a global batch, which may reach into the next epoch."""
        position, stop = (batch * self.rows.total + row for row in (self.rows.start, self.rows.stop))
        parts, count = [], len(self.images)
        while position < stop:
            epoch, offset = divmod(position, count)
            part = self._order(epoch)[offset : offset + stop - position]
            parts.append(part)
            position += len(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _epoch_order(self, epoch: int) -> Tensor:
        count = len(self.images)
        if not self.shuffle:
            return torch.arange(count, device=self.images.device)
        order = torch.randperm(count, generator=generator("cpu", self.seed, "data/order", epoch))
        if self.images.is_cuda:
            order = order.pin_memory()  # without it the host waits for the copy
        return order.to(self.images.device, non_blocking=True)
