"""The real images that metrics and reports compare with: a seeded choice that depends on the data set alone.

In: the shards of a data set and a number of images. Out: exactly that many different images, read in the order of the
shards; only chosen ones are decoded.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from distgan.config.schema import DataConfig
from distgan.data.bad_samples import BadSample
from distgan.data.location import location_of, manifest_beside, named_shards, open_data_set
from distgan.data.shards.decode import DecodedImage, EncodedImage, try_decode
from distgan.data.shards.manifest import Manifest
from distgan.data.shards.reader import scan
from distgan.data.shards.selection import ShardSelection, select_shards
from distgan.utils.errors import DataError
from distgan.utils.progress import track
from distgan.utils.rng import generator

MAX_REALS, MAX_REAL_BYTES = 20_000, 1 << 28  # of `read_some`


def open_data(config: DataConfig) -> tuple[Manifest, ShardSelection]:
    """Opens the data set at `config.path`, with its class filter. Raises DataError."""
    location, manifest = open_data_set(config)
    return manifest, select_shards(location, manifest, config.classes)


def elsewhere(data: DataConfig, path: Path | str) -> DataConfig:
    """The data set at another path, read as this one is; one by `distgan prepare` says itself how it is read."""
    alike = data.model_copy(update={"path": path})
    if named_shards(f"{path}") is None and manifest_beside(location_of(alike, path), True) is not None:
        return alike.model_copy(update={"size": None, "channels": None, "fit": "crop", "label": "auto"})
    return alike


def fitted(config: DataConfig, size: int, channels: int) -> DataConfig:
    """The data set, its images brought to a size and channels where they are in shards of another maker."""
    changed = config.model_copy(update={"size": size, "channels": "gray" if channels == 1 else "rgb"})
    with suppress(DataError):  # our own of another size: it stays as it is, and its size is told later
        open_data_set(changed)
        return changed
    return config


def open_alike(config: DataConfig, size: int, channels: int) -> ShardSelection:
    """Opens a data set whose images are compared with those of a generator.

    Raises DataError: it cannot be read, its images have another size or channels, or it holds only one.
    """
    _, shards = open_data(fitted(config, size, channels))
    if shards.size != size:
        raise DataError(f"the real images at {config.path} have {shards.size} pixels a side, not {size}")
    if shards.form.channels != channels:
        raise DataError(f"the real images at {config.path} have {shards.form.channels} channel(s), not {channels}")
    if shards.total < 2:
        raise DataError(f"{config.path} holds a single image")
    return shards


def read_some(shards: ShardSelection) -> tuple[Tensor, int]:
    """Images that fit into memory, uint8 [2 to MAX_REALS, channels, size, size], and how many there are in all.

    Raises DataError for an image that cannot be read.
    """
    count = max(2, min(shards.total, MAX_REALS, MAX_REAL_BYTES // shards.image_bytes))
    blocks = read_images(shards, choose_from_few_shards(shards, count), range(count), 500)
    return torch.cat(list(track(blocks, count, "real images", "images", weigh=len))), shards.total


def choose(images: int, rows: range) -> Tensor:
    """Returns some rows of one random order of 0 ... images - 1, the same on every machine: int64 [len(rows)]."""
    order = torch.randperm(images, generator=generator("cpu", 0, "quality/reference"))
    return order[rows.start : rows.stop]


def choose_from_few_shards(selection: ShardSelection, count: int) -> Tensor:
    """Returns indices of images that lie in as few shards as possible, so that little is read: int64 [<= count].

    Ascending, and the same on every machine.
    """
    starts = list(itertools.accumulate((selection.count(shard) for shard in selection.shards), initial=0))
    indices: list[int] = []
    for shard in torch.randperm(len(selection.shards), generator=generator("cpu", 0, "report/reals")).tolist():
        if len(indices) < count:
            indices += range(starts[shard], starts[shard + 1])
    return torch.tensor(sorted(indices[:count]))


def read_images(selection: ShardSelection, indices: Tensor, rows: range, batch: int) -> Iterator[Tensor]:
    """Yields the images of some rows of `indices`, uint8 [<= batch, channels, size, size] at a time.

    indices: int64, ascending, counted over all selected images in the shards' order. Raises DataError for an image
    that cannot be read.
    """
    pixels = _pixels(selection, indices[rows.start : rows.stop].tolist())
    while images := list(itertools.islice(pixels, batch)):
        yield torch.stack(images)


def read_labels(selection: ShardSelection, indices: Tensor) -> Tensor:
    """The classes of some images, int64 [len(indices)], as indices of `selection.classes`; no image is decoded.

    indices: as in `read_images`. Raises DataError for an image that cannot be read.
    """
    labels = [item.label for item in _items(selection, indices.tolist())]
    return torch.tensor(labels, dtype=torch.int64)


def _pixels(selection: ShardSelection, indices: list[int]) -> Iterator[Tensor]:
    for item in _items(selection, indices):
        image = try_decode(item, selection.form)
        if isinstance(image, BadSample):
            raise DataError(image.message)
        yield torch.from_numpy(image.pixels.transpose(2, 0, 1).copy())


def _items(selection: ShardSelection, indices: list[int]) -> Iterator[EncodedImage | DecodedImage]:
    start = 0
    for shard in selection.shards:
        stop = start + selection.count(shard)
        chosen = {index - start for index in indices[bisect_left(indices, start) : bisect_left(indices, stop)]}
        start = stop
        if not chosen:
            continue
        for index, item in enumerate(itertools.islice(scan(selection, shard), max(chosen) + 1)):
            if index not in chosen:
                continue
            if isinstance(item, BadSample):
                raise DataError(item.message)
            yield item
