"""`distgan prepare`: a source in, a directory of tar shards with a manifest out, all of it or nothing.

The shards are written to a hidden directory beside the target, the manifest last; then the directory gets its name.
The same request for a finished directory does nothing; another request is refused unless `overwrite` is set.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from distgan.config.choices import SOURCES
from distgan.config.schema import URL
from distgan.data.outside import checked_offer, is_outside
from distgan.data.publish import publish, target_errors, temporary_directory
from distgan.data.shards.absent import beside
from distgan.data.shards.decode import ImageForm
from distgan.data.shards.manifest import MANIFEST, Layout, Manifest, load_manifest
from distgan.data.shards.writer import ShardWriter, write_shards
from distgan.data.sources.base import Offer, Source
from distgan.data.sources.folder import Folder
from distgan.utils.counter_rng import IntArray, permutation
from distgan.utils.errors import DataError
from distgan.utils.files import sha256
from distgan.utils.log import log
from distgan.utils.progress import track

DOWNLOADED = ("cifar10", "cifar100", "mnist", "webdataset")  # sources that keep what they download
MAX_NOTES = 20  # of a source, printed
MEMBER_BYTES = 2560  # an image's two headers, label and padding in a shard, about
OVERWRITE_HINT = "pass --overwrite to replace it, or choose another --out"


@dataclass(frozen=True)
class Request:
    """The data set to make, and its directory."""

    out: Path
    source: Source
    split: str = "train"
    classes: tuple[str, ...] | None = None
    """Names of the classes; None: all of the source."""
    shard_size: int = 1000
    """Images per tar file."""
    layout: Layout = "pictures"
    seed: int = 0
    """Seed of the order of the images."""
    keep_order: bool = False
    """Keep the order of the source; else the images are shuffled, so that each shard mixes the classes."""
    overwrite: bool = False
    """Replace a data set that is at `out`."""
    limit: int | None = None
    """At most this many images: chosen by `seed`, or the first ones with `keep_order`."""


def prepare(request: Request, progress: bool = True) -> Manifest:
    """Makes the data set unless it exists. Returns its manifest.

    Raises DataError if the source or the target cannot be used; the target is then as before.
    """
    target = Path(os.path.realpath(request.out))
    if isinstance(request.source, Folder):
        _check_outside(request.out, target, request.source.directory)
    offer = make_offer(request)
    asked = _manifest_request(request, offer)
    if existing := find_existing(request.out, asked, request.overwrite):
        _warn_of_newer(request.out, offer)
        return existing
    if target.exists() and target.samefile(os.curdir):
        raise DataError(
            f"{request.out} is the working directory, which would be replaced; choose {request.out / 'data'}"
        )
    if os.path.ismount(target):
        raise DataError(f"{request.out} is a mount point and cannot be replaced; choose {request.out / 'data'}")
    return _make(request, offer, asked, target, progress) or _wait_for_existing(request.out, asked)


def make_offer(request: Request) -> Offer:
    """The source's offer. Raises DataError, also for options that do not go together."""
    if request.layout == "blocks" and getattr(request.source, "keep_format", False):
        raise DataError("--keep-format goes with --layout pictures; blocks hold raw pixels")
    offer = request.source.offer(request.split, request.classes)
    return checked_offer(offer, request.layout) if is_outside(request.source) else offer


def ensure(path: Path | URL, source: str) -> Manifest:
    """Returns the manifest of the data set at `path`; makes the default one of `source` if there is none.

    Any number of processes on any machines may call this at the same time: each gets a complete data set.
    path: a directory; the configuration allows no `source` for a URL. source: a name in the registry SOURCES, or of a
    class from outside. Raises DataError.
    """
    assert isinstance(path, Path)
    if (path / MANIFEST).exists():
        return load_manifest(path)
    return prepare(Request(path, build_source(source, {}, path.parent / "downloads")))


def build_source(name: str, options: Mapping[str, Any], downloads: Path) -> Source:
    """A source by its name, with its options. downloads: directory for what it downloads. Raises DataError."""
    target = SOURCES.load(name)
    if name not in SOURCES.entries:
        return cast(Source, target(SOURCES.options_of(name, options)))
    fixed = {"download_dir": downloads} if name in DOWNLOADED else {}
    return cast(Source, target(**(fixed | dict(options))))


def _check_outside(out: Path, target: Path, source: Path) -> None:
    """Raises DataError if `target` lies in the directory that the images are read from."""
    if Path(os.path.realpath(source)) in (target, *target.parents):
        raise DataError(f"{out} lies in {source}, all of which is read; choose an --out beside it: {beside(source)}")


def find_existing(out: Path, asked: dict[str, Any], overwrite: bool) -> Manifest | None:
    """Returns the data set at `out` if it is the requested one; None if nothing is there or it will be replaced.

    asked: as `Manifest.request`; None in it matches any value. Raises DataError if `out` holds anything else.
    """
    names = _names_in(out)
    if not names:
        return None
    foreign = [name for name in names if name != MANIFEST and not name.endswith(".tar")]
    if MANIFEST not in names or (overwrite and foreign):
        first = (foreign or names)[0]
        raise DataError(f"{out} holds something that is not a distgan data set ({first}); choose an empty or new --out")
    if overwrite:
        return None
    manifest = load_manifest(out)
    _check_request(out, manifest, asked)
    for shard in manifest.shards:
        path = out / shard.name
        if not path.is_file() or path.stat().st_size != shard.bytes:
            raise _damaged(path, "it is missing or has another size than the manifest says")
    return manifest


def _warn_of_newer(out: Path, offer: Offer) -> None:
    """Tells of a file of the source that was written after the data set."""
    if offer.newest is not None and offer.newest[0] > (out / MANIFEST).stat().st_mtime:
        log.warning(
            "%s was written after %s was made, which is left as it is, since names and sizes are the same; if images "
            "have changed, pass --overwrite",
            offer.newest[1],
            out,
        )


def verify(path: Path, progress: bool = True) -> Manifest:
    """Compares the sha256 of every shard with the manifest. Raises DataError naming the first that differs."""
    manifest = load_manifest(path)
    for shard in track(manifest.shards, len(manifest.shards), f"verify {path}", "shards", enabled=progress):
        try:
            digest = sha256(path / shard.name)
        except OSError as error:
            raise _damaged(path / shard.name, f"{error.strerror}") from None
        if digest != shard.sha256:
            raise _damaged(path / shard.name, "its sha256 is not the manifest's")
    return manifest


def _make(request: Request, offer: Offer, asked: dict[str, Any], target: Path, progress: bool) -> Manifest | None:
    """Writes the shards and publishes them; returns None if another process has published a data set meanwhile."""
    images = offer.load(progress)
    order = chosen_rows(request, images.labels)
    count = len(order)
    bytes_needed = count * (offer.channels * offer.size**2 + MEMBER_BYTES)
    with target_errors(request.out, bytes_needed), temporary_directory(target) as directory:
        form = ImageForm(offer.size, offer.channels)
        writer = ShardWriter(directory, request.split, request.layout, form, len(offer.classes), request.shard_size)
        shards = write_shards(writer, images, order, f"{offer.source} {request.split}", progress)
        print_notes([*images.notes, *images.finish()])
        totals = np.sum([shard.class_counts for shard in shards], axis=0) if shards else np.zeros(len(offer.classes))
        check_totals(request, offer, totals)
        manifest = Manifest(
            source=offer.source,
            split=request.split,
            size=offer.size,
            channels=offer.channels,
            layout=request.layout,
            classes=offer.classes,
            shards=shards,
            request=asked,
        )
        manifest.save(directory)
        return manifest if publish(directory, target, request.overwrite) else None


def chosen_rows(request: Request, labels: IntArray) -> IntArray:
    """The rows of a source's images that are read, in order. labels: [N], of all of them.

    A limit by the seed leaves at least one image of each class, if there are so many.
    """
    if request.keep_order:
        return np.arange(len(labels))[: request.limit]
    order = permutation(request.seed, "prepare-order", len(labels))
    if request.limit is None or request.limit >= len(order):
        return order
    _, first = np.unique(labels[order], return_index=True)
    others = np.setdiff1d(np.arange(len(order)), first, assume_unique=True)
    return order[np.sort(np.concatenate([first, others])[: request.limit])]


def check_totals(request: Request, offer: Offer, totals: npt.NDArray[Any]) -> None:
    """Raises DataError if a class has no image. totals: [classes], images of each."""
    if totals.all():
        return
    name = offer.classes[int(np.argmin(totals))]
    if request.limit is not None:
        raise DataError(
            f"--limit {request.limit:,} leaves class '{name}' without an image; take more, or name fewer with --classes"
        )
    raise DataError(f"class '{name}' has no image that can be read; repair them, or leave it out with --classes")


def _wait_for_existing(out: Path, asked: dict[str, Any]) -> Manifest:
    """Returns what another process has published; a network file system may need a moment to show it."""
    for _ in range(10):
        if existing := find_existing(out, asked, overwrite=False):
            return existing
        time.sleep(0.5)
    raise DataError(f"{out} was removed while it was made; run this again")


def _manifest_request(request: Request, offer: Offer) -> dict[str, Any]:
    """Returns all that determines the bytes of the shards, for the manifest."""
    order = {"keep_order": True} if request.keep_order else {"keep_order": False, "order_seed": request.seed}
    common = {"source": offer.source, "split": request.split, "classes": list(offer.classes)}
    limit = {} if request.limit is None else {"limit": request.limit}
    return {**common, "layout": request.layout, "shard_size": request.shard_size, **order, **limit, **offer.request}


def print_notes(notes: list[str]) -> None:
    """Shows what a source has noted."""
    for note in sorted(notes)[:MAX_NOTES]:
        log.info("note: %s", note)
    if len(notes) > MAX_NOTES:
        log.info("note: and %d more (%d in all)", len(notes) - MAX_NOTES, len(notes))


def _names_in(out: Path) -> list[str]:
    """Returns the sorted names in a target directory; none if it does not exist. Raises DataError."""
    try:
        return sorted(path.name for path in out.iterdir())
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        raise DataError(
            f"{out} cannot be written: it, or a directory above it, is a file; choose another --out"
        ) from None
    except OSError as error:
        raise DataError(f"{out} cannot be read: {error.strerror}; choose another --out") from None


def _check_request(out: Path, manifest: Manifest, asked: dict[str, Any]) -> None:
    """Raises DataError if the data set at `out` was made by another request."""
    made = {"layout": manifest.layout, **manifest.request}  # requests of older data sets do not name the layout
    for name, value in asked.items():
        before = made.get(name)
        if value is not None and before is not None and value != before:
            raise DataError(f"{out} holds a data set made with {name} = {before}, not {value}; {OVERWRITE_HINT}")
    if set(asked) != set(made):
        raise DataError(f"{out} holds a data set that was made by another request; {OVERWRITE_HINT}")


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path} is damaged: {reason}; make the data set again with --overwrite")
