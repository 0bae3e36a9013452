"""One shard in, its images out, with errors that name shard and sample.

A shard's sha256 is compared with the manifest before its first image is handed out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from distgan.data.bad_samples import BadRange, BadSample, SkipBudget
from distgan.data.remote.store import Location, RemoteStore
from distgan.data.shards.blocks import Block
from distgan.data.shards.decode import DecodedImage, EncodedImage, try_decode
from distgan.data.shards.manifest import Shard
from distgan.data.shards.samples import Piece, parse_pieces
from distgan.data.shards.selection import ShardSelection
from distgan.data.shards.tar import READ_ERRORS, ForeignMember
from distgan.utils.errors import DataError
from distgan.utils.files import is_intact
from distgan.utils.safe_io import open_regular, printable

CHANGED_HINT = (
    "it is not as at the first look: get the old one again, or remove index-*.json in distgan/shards of your cache "
    "(~/.cache or XDG_CACHE_HOME) and begin a new run"
)
VERIFY_HINT = "`distgan prepare ... --verify` checks all shards"


def scan(selection: ShardSelection, shard: Shard) -> Iterator[EncodedImage | DecodedImage | BadSample]:
    """Yields the items of `scan_pieces` one by one."""
    for piece in scan_pieces(selection, shard):
        yield from piece


def scan_pieces(selection: ShardSelection, shard: Shard) -> Iterator[Piece]:
    """Yields the selected images of a shard in order, not decoded, with a BadSample for each that cannot be read.

    They are as many as the manifest says, and one more BadSample if the shard holds another number. Raises no error.
    """
    path, found, count = f"{selection.location}/{shard.name}", 0, selection.count(shard)
    try:
        with open_shard(selection.location, shard) as file:
            if not isinstance(selection.location, RemoteStore) and not is_intact(file, shard.bytes, shard.sha256):
                check_labels(selection, shard, file)
            for piece in parse_pieces(file, shard.name, selection):
                if found + len(piece) <= count:
                    yield piece
                elif found < count:  # the rest is counted for the message below, and never handed out
                    yield piece[: count - found]
                found += len(piece)
        message = f"shard {path} holds {found} selected images, its manifest says {count}"
        if found == count:
            return
    except DataError as error:
        changed = isinstance(selection.location, RemoteStore) and selection.layout == "webdataset"
        message = f"{error}; {CHANGED_HINT}" if changed else f"{error}"
    except READ_ERRORS as error:
        message = f"shard {path} {_reason(error)}; {_hint(selection)}"
    yield BadRange(f"{shard.name}/", range(found, max(count, found + 1)), message)


def read_pieces(selection: ShardSelection, shard: Shard) -> Iterator[Piece]:
    """Yields the selected images of a shard in order, not decoded, without any BadSample.

    Raises DataError if the shard is missing, or holds another number of images than the manifest says; if it is
    damaged, before the first image, wherever the damage is.
    """
    location = selection.location
    if isinstance(location, Path) and not _is_intact_path(location / shard.name, shard):
        for item in scan(selection, shard):
            if isinstance(image := try_decode(item, selection.form), BadSample):
                raise DataError(image.message)
    for piece in scan_pieces(selection, shard):
        if not isinstance(piece, Block) and isinstance(piece[0], BadSample):
            raise DataError(piece[0].message)
        yield piece


def open_shard(location: Location, shard: Shard) -> BinaryIO:
    """Opens a shard for reading, fetched first if it is remote. Raises OSError and DataError."""
    if isinstance(location, Path):
        return open_regular(location / shard.name)
    return location.open(shard.name, shard.bytes, shard.sha256)


def check_labels(selection: ShardSelection, shard: Shard, file: BinaryIO) -> None:
    """Raises DataError if a label of a damaged shard may be wrong: then none of its images can be trusted.

    Returns if reading the shard will meet a bad image, or an early end, which gets a message of its own.

    file: the shard, whose sha256 is not the manifest's; at its start before and after.
    """
    labels = range(len(shard.class_counts))
    counts, found_damage = np.zeros(len(labels), dtype=np.int64), False
    every_class = replace(selection, label_map={label: label for label in labels})
    try:
        for piece in parse_pieces(file, shard.name, every_class):
            for item in piece:
                if isinstance(item, (EncodedImage, DecodedImage)):
                    counts[item.label] += 1
                found_damage |= isinstance(try_decode(item, selection.form), BadSample)
    except (*READ_ERRORS, DataError):
        found_damage = True
    file.seek(0)
    path = f"shard {selection.location}/{shard.name}"
    if counts.sum() > shard.count:
        raise DataError(f"{path} holds {counts.sum()} images, its manifest says {shard.count}; {_hint(selection)}")
    for label, (count, expected) in enumerate(zip(counts, shard.class_counts, strict=True)):
        if count > expected:
            raise DataError(
                f"{path} is damaged: its sha256 is not the manifest's, and {count} of its images have label "
                f"{label}, not {expected}; {_hint(selection)}"
            )
    if not found_damage and counts.sum() == shard.count:
        raise DataError(
            f"{path} is damaged: its sha256 is not the manifest's, though all its images can be decoded; "
            f"{_hint(selection)}"
        )


def first_images(selection: ShardSelection, count: int, max_skipped: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first good images of the shards, uint8 [<= count, channels, size, size], and their labels, int64.

    max_skipped: images that may be left out because they cannot be read. Raises DataError if there are more, or if no
    image is good.
    """
    skip_budget, images = SkipBudget(max_skipped), list[DecodedImage]()
    items = (itertools.islice(scan(selection, shard), selection.count(shard)) for shard in selection.shards)
    for item in itertools.chain.from_iterable(items):
        image = try_decode(item, selection.form)
        if isinstance(image, BadSample):
            skip_budget.add([image])
            continue
        images.append(image)
        if len(images) == count:
            break
    if not images:
        raise DataError(f"none of the images of {selection.location} can be read")
    labels = np.array([image.label for image in images], dtype=np.int64)
    return np.stack([image.pixels for image in images]).transpose(0, 3, 1, 2), labels


def _hint(selection: ShardSelection) -> str:
    """What to do about a shard that is not as its manifest says."""
    return CHANGED_HINT if selection.layout == "webdataset" else VERIFY_HINT


def _is_intact_path(path: Path, shard: Shard) -> bool:
    try:
        with open_regular(path) as file:
            return is_intact(file, shard.bytes, shard.sha256)
    except OSError:
        return False


def _reason(error: Exception) -> str:
    if isinstance(error, ForeignMember):
        return f"is not in the form of distgan's shards: {error}"
    if isinstance(error, FileNotFoundError):
        return "is missing"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return f"is damaged: {printable(str(error.args[0])) if error.args else type(error).__name__}"
