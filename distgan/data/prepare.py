"""`distgan prepare`: a source in, a directory of tar shards with a manifest out, all of it or nothing.

The shards are written to a hidden directory beside the target, the manifest last; then the directory gets its name.
The same request on a finished directory does nothing, another request is refused unless `overwrite` is set.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from distgan.config.schema import URL
from distgan.data.existing import look
from distgan.data.publish import publish, target_errors, workplace
from distgan.data.shards.manifest import MANIFEST, Layout, Manifest, load_manifest
from distgan.data.shards.writer import Offer, write_shards
from distgan.data.sources.cifar10 import Cifar10
from distgan.data.sources.folder import Folder
from distgan.data.sources.shapes import Shapes
from distgan.utils.counter_rng import permutation
from distgan.utils.errors import DataError

NOTES_SHOWN = 20


@dataclass(frozen=True)
class Request:
    """What to make, and where."""

    out: Path
    source: Shapes | Cifar10 | Folder
    split: str = "train"
    classes: tuple[str, ...] | None = None  # None: all
    shard_size: int = 1000  # images per tar file
    layout: Layout = "pictures"
    seed: int = 0  # of the order of the images
    keep_order: bool = False  # as in the source; else shuffled, so that each shard mixes the classes
    overwrite: bool = False


def prepare(request: Request, progress: bool = True) -> Manifest:
    """Makes the data set, or finds that it is there. Returns its manifest.

    Raises DataError if the source or the target cannot be used; the target is then as before.
    """
    target = Path(os.path.realpath(request.out))
    offer = request.source.offer(request.split, request.classes)
    asked = _asked(request, offer)
    if found := look(request.out, asked, request.overwrite):
        return found
    if os.path.ismount(target):
        raise DataError(f"{request.out} is a mount point and cannot be replaced; choose {request.out / 'data'}")
    images = offer.load(progress)
    count = len(images.keys)
    order = np.arange(count) if request.keep_order else permutation(request.seed, "prepare-order", count)
    with target_errors(request.out, count * (3 * offer.size**2 + 2560)), workplace(target) as place:
        size, layout = request.shard_size, request.layout
        shards = write_shards(place, request.split, offer, images, order, size, layout, progress)
        totals = np.sum([shard.class_counts for shard in shards], axis=0) if shards else np.zeros(len(offer.classes))
        _report(images.notes)
        if not totals.all():
            name = offer.classes[int(np.argmin(totals))]
            raise DataError(
                f"class '{name}' has no image that can be read; repair them, or leave it out with --classes"
            )
        manifest = Manifest(
            source=offer.source,
            split=request.split,
            size=offer.size,
            layout=layout,
            classes=offer.classes,
            shards=shards,
            request=asked,
        )
        manifest.save(place)
        if publish(place, target, request.overwrite):
            return manifest
    for _ in range(10):  # another process was faster; a network file system may need a moment to show it
        if found := look(request.out, asked, overwrite=False):
            return found
        time.sleep(0.5)
    raise DataError(f"{request.out} was removed while it was made; run this again")


def ensure(path: Path | URL, source: Literal["shapes", "cifar10"], progress: bool) -> Manifest:
    """The data set at `path`; where there is none, the default one of `source` is made first.

    Any number of processes on any machines may call this at the same time: each sees a whole data set.
    path: a directory; the configuration has no `source` for a URL.
    """
    assert isinstance(path, Path)
    if (path / MANIFEST).exists():
        return load_manifest(path)
    chosen = Shapes() if source == "shapes" else Cifar10(download_dir=path.parent / "downloads")
    return prepare(Request(out=path, source=chosen), progress)


def _asked(request: Request, offer: Offer) -> dict[str, Any]:
    """All that decides the bytes of the shards, for the manifest."""
    order = {"keep_order": True} if request.keep_order else {"keep_order": False, "order_seed": request.seed}
    common = {"source": offer.source, "split": request.split, "classes": list(offer.classes)}
    return {**common, "layout": request.layout, "shard_size": request.shard_size, **order, **offer.request}


def _report(notes: list[str]) -> None:
    for note in sorted(notes)[:NOTES_SHOWN]:
        print(f"note: {note}", file=sys.stderr)
    if len(notes) > NOTES_SHOWN:
        print(f"note: and {len(notes) - NOTES_SHOWN:,} more ({len(notes):,} in all)", file=sys.stderr)
