"""One shard in, its images out, with errors that name shard and sample.

A shard is compared with its manifest's sha256 before its first image is handed out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from distgan.data.bad_samples import BadRange, BadSample, SkipBudget
from distgan.data.remote.store import RemoteStore
from distgan.data.shards.blocks import Block
from distgan.data.shards.manifest import Layout, Manifest, Shard
from distgan.data.shards.png import DecodedImage, Encoded, decoded
from distgan.data.shards.samples import Piece, pieces
from distgan.data.shards.tar import DAMAGE
from distgan.utils.errors import DataError
from distgan.utils.files import is_intact
from distgan.utils.safe_io import open_regular, printable

VERIFY = "`distgan prepare ... --verify` checks all shards"


@dataclass(frozen=True)
class ShardSelection:
    """The shards of a place, seen through a class filter."""

    root: Path | RemoteStore
    size: int
    classes: tuple[str, ...]
    labels: dict[int, int]
    """Label in the shards -> place in `classes`."""
    shards: tuple[Shard, ...]
    """Only those that hold a wanted image."""
    layout: Layout

    def count(self, shard: Shard) -> int:
        """Wanted images in a shard."""
        return sum(shard.class_counts[number] for number in self.labels)

    @property
    def total(self) -> int:
        return sum(self.count(shard) for shard in self.shards)


def select(root: Path | RemoteStore, manifest: Manifest, classes: Sequence[str] | None) -> ShardSelection:
    """The images of `classes` (None: all). Raises DataError for an unknown class or where no image is left."""
    names = tuple(manifest.classes if classes is None else (name for name in manifest.classes if name in classes))
    for name in classes or ():
        if name not in manifest.classes:
            raise DataError(f"data.classes={name}: {root} has no such class; it has {', '.join(manifest.classes)}")
    known = {name: number for number, name in enumerate(manifest.classes)}
    numbers = {known[name]: place for place, name in enumerate(names)}
    shards = tuple(shard for shard in manifest.shards if any(shard.class_counts[number] for number in numbers))
    if not shards:
        raise DataError(f"{root} holds no image of the classes {', '.join(names)}")
    return ShardSelection(root, manifest.size, names, numbers, shards, manifest.layout)


def scan(wanted: ShardSelection, shard: Shard) -> Iterator[Encoded | DecodedImage | BadSample]:
    """The wanted images of one shard, one by one, as `scan_pieces` has them."""
    for piece in scan_pieces(wanted, shard):
        yield from piece


def scan_pieces(wanted: ShardSelection, shard: Shard) -> Iterator[Piece]:
    """The wanted images of one shard, in their order, not yet decoded, with a Bad in place of each that is lost.

    As many as the manifest says, and one more, a Bad, if the shard holds another number.
    """
    place, found, count = f"{wanted.root}/{shard.name}", 0, wanted.count(shard)
    try:
        with open_shard(wanted.root, shard) as file:
            if not isinstance(wanted.root, RemoteStore) and not is_intact(file, shard.bytes, shard.sha256):
                check_labels(wanted, shard, file)
            for piece in pieces(file, shard.name, wanted.layout, wanted.size, wanted.labels):
                if found + len(piece) <= count:
                    yield piece
                elif found < count:  # more are counted, for the sentence below, and never handed out
                    yield piece[: count - found]
                found += len(piece)
        sentence = f"shard {place} holds {found} wanted images, its manifest says {count}"
        if found == count:
            return
    except DataError as error:
        sentence = f"{error}"
    except DAMAGE as error:
        sentence = f"shard {place} {_reason(error)}; {VERIFY}"
    yield BadRange(f"{shard.name}/", range(found, max(count, found + 1)), sentence)


def read_pieces(wanted: ShardSelection, shard: Shard) -> Iterator[Piece]:
    """The same where nothing may be lost.

    Raises DataError if the shard is missing or holds another number of images than the manifest says; if it is
    damaged, before the first image, wherever the damage lies.
    """
    if isinstance(wanted.root, Path) and not _is_intact_file(wanted.root / shard.name, shard):
        for item in scan(wanted, shard):
            if isinstance(image := decoded(item, wanted.size), BadSample):
                raise DataError(image.sentence)
    for piece in scan_pieces(wanted, shard):
        if not isinstance(piece, Block) and isinstance(piece[0], BadSample):
            raise DataError(piece[0].sentence)
        yield piece


def open_shard(root: Path | RemoteStore, shard: Shard) -> BinaryIO:
    return (
        open_regular(root / shard.name) if isinstance(root, Path) else root.open(shard.name, shard.bytes, shard.sha256)
    )


def check_labels(wanted: ShardSelection, shard: Shard, file: BinaryIO) -> None:
    """Looks for what is wrong with a shard whose sha256 is not the manifest's. file: is at its start afterwards.

    Raises DataError where a label may be wrong, so that no image can be trusted. Returns where that is not so and
    reading on will come to an image, or an end, that is named by its own sentence.
    """
    numbers = range(len(shard.class_counts))
    labels, found = np.zeros(len(numbers), dtype=np.int64), False
    try:
        for piece in pieces(file, shard.name, wanted.layout, wanted.size, {n: n for n in numbers}):
            for item in piece:
                if isinstance(item, (Encoded, DecodedImage)):
                    labels[item.label] += 1
                found |= isinstance(decoded(item, wanted.size), BadSample)
    except (*DAMAGE, DataError):
        found = True
    file.seek(0)
    place = f"shard {wanted.root}/{shard.name}"
    if labels.sum() > shard.count:
        raise DataError(f"{place} holds {labels.sum()} images, its manifest says {shard.count}; {VERIFY}")
    for number, (there, expected) in enumerate(zip(labels, shard.class_counts, strict=True)):
        if there > expected:
            raise DataError(
                f"{place} is damaged: its sha256 is not the manifest's, and {there} of its images have label "
                f"{number}, not {expected}; {VERIFY}"
            )
    if not found and labels.sum() == shard.count:
        raise DataError(
            f"{place} is damaged: its sha256 is not the manifest's, though all its images can be decoded; {VERIFY}"
        )


def first_images(wanted: ShardSelection, count: int, skip: int = 0) -> np.ndarray:
    """uint8 [<= count, 3, size, size]: the first images of the shards, to be looked at beside samples.

    skip: how many of them may be left out because they cannot be read. Raises DataError.
    """
    skipped, found = SkipBudget(skip), list[np.ndarray]()
    for item in (
        item for shard in wanted.shards for item in itertools.islice(scan(wanted, shard), wanted.count(shard))
    ):
        image = decoded(item, wanted.size)
        if isinstance(image, BadSample):
            skipped.add([image])
            continue
        found.append(image.pixels)
        if len(found) == count:
            break
    if not found:
        raise DataError(f"none of the images of {wanted.root} can be read")
    return np.stack(found).transpose(0, 3, 1, 2)


def _is_intact_file(path: Path, shard: Shard) -> bool:
    try:
        with open_regular(path) as file:
            return is_intact(file, shard.bytes, shard.sha256)
    except OSError:
        return False


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "is missing"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return f"is damaged: {printable(str(error.args[0])) if error.args else type(error).__name__}"
