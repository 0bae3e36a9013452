"""One shard in, its pictures out, with errors that name shard and sample.

A shard is compared with its manifest's sha256 before its first picture is handed out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from distgan.data.bad_samples import Bad, Lost, Skipped
from distgan.data.remote.store import Far
from distgan.data.shards.blocks import Block
from distgan.data.shards.intact import is_whole
from distgan.data.shards.manifest import Layout, Manifest, Shard
from distgan.data.shards.png import Encoded, Picture, decoded
from distgan.data.shards.samples import Piece, pieces
from distgan.data.shards.tar import DAMAGE
from distgan.utils.errors import DataError
from distgan.utils.safe_io import open_regular, printable

VERIFY = "`distgan prepare ... --verify` checks all shards"


@dataclass(frozen=True)
class Wanted:
    """The shards of a place, seen through a class filter."""

    root: Path | Far
    size: int
    classes: tuple[str, ...]
    labels: dict[int, int]
    """Label in the shards -> place in `classes`."""
    shards: tuple[Shard, ...]
    """Only those that hold a wanted picture."""
    layout: Layout

    def count(self, shard: Shard) -> int:
        """Wanted pictures in a shard."""
        return sum(shard.class_counts[number] for number in self.labels)

    @property
    def total(self) -> int:
        return sum(self.count(shard) for shard in self.shards)


def select(root: Path | Far, manifest: Manifest, classes: Sequence[str] | None) -> Wanted:
    """The pictures of `classes` (None: all). Raises DataError for an unknown class or where no picture is left."""
    names = tuple(manifest.classes if classes is None else (name for name in manifest.classes if name in classes))
    for name in classes or ():
        if name not in manifest.classes:
            raise DataError(f"data.classes={name}: {root} has no such class; it has {', '.join(manifest.classes)}")
    known = {name: number for number, name in enumerate(manifest.classes)}
    numbers = {known[name]: place for place, name in enumerate(names)}
    shards = tuple(shard for shard in manifest.shards if any(shard.class_counts[number] for number in numbers))
    if not shards:
        raise DataError(f"{root} holds no picture of the classes {', '.join(names)}")
    return Wanted(root, manifest.size, names, numbers, shards, manifest.layout)


def scan(wanted: Wanted, shard: Shard) -> Iterator[Encoded | Picture | Bad]:
    """The wanted pictures of one shard, one by one, as `scan_pieces` has them."""
    for piece in scan_pieces(wanted, shard):
        yield from piece


def scan_pieces(wanted: Wanted, shard: Shard) -> Iterator[Piece]:
    """The wanted pictures of one shard, in their order, not yet decoded, with a Bad in place of each that is lost.

    As many as the manifest says, and one more, a Bad, if the shard holds another number.
    """
    place, found, count = f"{wanted.root}/{shard.name}", 0, wanted.count(shard)
    try:
        with open_shard(wanted.root, shard) as file:
            if not isinstance(wanted.root, Far) and not is_whole(file, shard.bytes, shard.sha256):
                check_labels(wanted, shard, file)
            for piece in pieces(file, shard.name, wanted.layout, wanted.size, wanted.labels):
                if found + len(piece) <= count:
                    yield piece
                elif found < count:  # more are counted, for the sentence below, and never handed out
                    yield piece[: count - found]
                found += len(piece)
        sentence = f"shard {place} holds {found} wanted pictures, its manifest says {count}"
        if found == count:
            return
    except DataError as error:
        sentence = f"{error}"
    except DAMAGE as error:
        sentence = f"shard {place} {_reason(error)}; {VERIFY}"
    yield Lost(f"{shard.name}/", range(found, max(count, found + 1)), sentence)


def read_pieces(wanted: Wanted, shard: Shard) -> Iterator[Piece]:
    """The same where nothing may be lost.

    Raises DataError if the shard is missing or holds another number of pictures than the manifest says; if it is
    damaged, before the first picture, wherever the damage lies.
    """
    if isinstance(wanted.root, Path) and not _is_whole_file(wanted.root / shard.name, shard):
        for item in scan(wanted, shard):
            if isinstance(picture := decoded(item, wanted.size), Bad):
                raise DataError(picture.sentence)
    for piece in scan_pieces(wanted, shard):
        if not isinstance(piece, Block) and isinstance(piece[0], Bad):
            raise DataError(piece[0].sentence)
        yield piece


def open_shard(root: Path | Far, shard: Shard) -> BinaryIO:
    return (
        open_regular(root / shard.name) if isinstance(root, Path) else root.open(shard.name, shard.bytes, shard.sha256)
    )


def check_labels(wanted: Wanted, shard: Shard, file: BinaryIO) -> None:
    """Looks for what is wrong with a shard whose sha256 is not the manifest's. file: is at its start afterwards.

    Raises DataError where a label may be wrong, so that no picture can be trusted. Returns where that is not so and
    reading on will come to a picture, or an end, that is named by its own sentence.
    """
    numbers = range(len(shard.class_counts))
    labels, found = np.zeros(len(numbers), dtype=np.int64), False
    try:
        for piece in pieces(file, shard.name, wanted.layout, wanted.size, {n: n for n in numbers}):
            for item in piece:
                if isinstance(item, (Encoded, Picture)):
                    labels[item.label] += 1
                found |= isinstance(decoded(item, wanted.size), Bad)
    except (*DAMAGE, DataError):
        found = True
    file.seek(0)
    place = f"shard {wanted.root}/{shard.name}"
    if labels.sum() > shard.count:
        raise DataError(f"{place} holds {labels.sum()} pictures, its manifest says {shard.count}; {VERIFY}")
    for number, (there, expected) in enumerate(zip(labels, shard.class_counts, strict=True)):
        if there > expected:
            raise DataError(
                f"{place} is damaged: its sha256 is not the manifest's, and {there} of its pictures have label "
                f"{number}, not {expected}; {VERIFY}"
            )
    if not found and labels.sum() == shard.count:
        raise DataError(
            f"{place} is damaged: its sha256 is not the manifest's, though all its pictures can be decoded; {VERIFY}"
        )


def first_pictures(wanted: Wanted, count: int, skip: int = 0) -> np.ndarray:
    """uint8 [<= count, 3, size, size]: the first pictures of the shards, to be looked at beside samples.

    skip: how many of them may be left out because they cannot be read. Raises DataError.
    """
    skipped, found = Skipped(skip), list[np.ndarray]()
    for item in (
        item for shard in wanted.shards for item in itertools.islice(scan(wanted, shard), wanted.count(shard))
    ):
        picture = decoded(item, wanted.size)
        if isinstance(picture, Bad):
            skipped.add([picture])
            continue
        found.append(picture.pixels)
        if len(found) == count:
            break
    if not found:
        raise DataError(f"none of the pictures of {wanted.root} can be read")
    return np.stack(found).transpose(0, 3, 1, 2)


def _is_whole_file(path: Path, shard: Shard) -> bool:
    try:
        with open_regular(path) as file:
            return is_whole(file, shard.bytes, shard.sha256)
    except OSError:
        return False


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "is missing"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return f"is damaged: {printable(str(error.args[0])) if error.args else type(error).__name__}"
