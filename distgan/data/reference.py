"""Which real images are the reference, and their pixels: a seeded choice that is a function of the data set alone.

In: a data set's shards and a number of images. Out: exactly that many different images, read in the order of the
shards, decoded only if they are chosen.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Iterator

import torch
from torch import Tensor

from distgan.config.schema import DataConfig
from distgan.data.bad_samples import BadSample
from distgan.data.dataset import place_of
from distgan.data.shards.manifest import Manifest, load_manifest
from distgan.data.shards.png import decoded
from distgan.data.shards.reader import ShardSelection, scan, select
from distgan.utils.errors import DataError
from distgan.utils.rng import generator


def open_data(config: DataConfig) -> tuple[Manifest, ShardSelection]:
    """The data set at `config.path`, seen through its class filter. Raises DataError."""
    place = place_of(config)
    manifest = load_manifest(place)
    return manifest, select(place, manifest, config.classes)


def choose(images: int, rows: range) -> Tensor:
    """int64 [len(rows)]: these rows of one random order of 0 ... images - 1, the same on every machine."""
    order = torch.randperm(images, generator=generator("cpu", 0, "quality/reference"))
    return order[rows.start : rows.stop]


def choose_near(wanted: ShardSelection, count: int) -> Tensor:
    """int64 [<= count], ascending: places of images of as few shards as hold so many, so that little is read; which
    shards is the same on every machine."""
    borders = list(itertools.accumulate((wanted.count(shard) for shard in wanted.shards), initial=0))
    places: list[int] = []
    for shard in torch.randperm(len(wanted.shards), generator=generator("cpu", 0, "report/reals")).tolist():
        if len(places) < count:
            places += range(borders[shard], borders[shard + 1])
    return torch.tensor(sorted(places[:count]))


def read(wanted: ShardSelection, places: Tensor, rows: range, batch: int) -> Iterator[Tensor]:
    """Those rows of `places`, uint8 [<= batch, 3, size, size] at a time.

    places: int64, ascending, counted over all wanted images in the shards' order. Raises DataError for an image that
    cannot be read.
    """
    pixels = _pixels(wanted, places[rows.start : rows.stop].tolist())
    while images := list(itertools.islice(pixels, batch)):
        yield torch.stack(images)


def _pixels(wanted: ShardSelection, places: list[int]) -> Iterator[Tensor]:
    start = 0
    for shard in wanted.shards:
        stop = start + wanted.count(shard)
        here = {place - start for place in places[bisect_left(places, start) : bisect_left(places, stop)]}
        start = stop
        if not here:
            continue
        for place, item in enumerate(itertools.islice(scan(wanted, shard), max(here) + 1)):
            if place not in here:
                continue
            image = decoded(item, wanted.size)
            if isinstance(image, BadSample):
                raise DataError(image.sentence)
            yield torch.from_numpy(image.pixels.transpose(2, 0, 1).copy())
