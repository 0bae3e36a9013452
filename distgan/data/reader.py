"""One shard in, its pictures out: WebDataset's tar reader, with errors that name shard and member."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from distgan.data.manifest import Manifest, Shard
from distgan.errors import DataError


class Encoded(NamedTuple):
    """A picture as it lies in the shard."""

    name: str
    """SHARD/KEY, for errors."""
    png: bytes
    label: int
    """Place among the wanted classes."""


@dataclass(frozen=True)
class Wanted:
    """The shards of a directory, seen through a class filter."""

    root: Path
    size: int
    classes: tuple[str, ...]
    labels: dict[int, int]
    """Number in KEY.cls -> place in `classes`."""
    shards: tuple[Shard, ...]
    """Only those that hold a wanted picture."""

    def count(self, shard: Shard) -> int:
        """Wanted pictures in a shard."""
        return sum(shard.class_counts[number] for number in self.labels)

    @property
    def total(self) -> int:
        return sum(self.count(shard) for shard in self.shards)


def select(root: Path, manifest: Manifest, classes: Sequence[str] | None) -> Wanted:
    """The pictures of `classes` (None: all). Raises DataError for an unknown class or where no picture is left."""
    names = tuple(manifest.classes if classes is None else (name for name in manifest.classes if name in classes))
    for name in classes or ():
        if name not in manifest.classes:
            raise DataError(f"data.classes={name}: {root} has no such class; it has {', '.join(manifest.classes)}")
    numbers = {manifest.classes.index(name): place for place, name in enumerate(names)}
    shards = tuple(shard for shard in manifest.shards if any(shard.class_counts[number] for number in numbers))
    if not shards:
        raise DataError(f"{root} holds no picture of the classes {', '.join(names)}")
    return Wanted(root, manifest.size, names, numbers, shards)


def read_shard(wanted: Wanted, shard: Shard) -> Iterator[Encoded]:
    """The wanted pictures of one shard, in their order, not yet decoded.

    Raises DataError if the shard is missing, damaged, or holds another number of pictures than the manifest says.
    """
    from webdataset.tariterators import group_by_keys, tar_file_expander

    path, found, count = wanted.root / shard.name, 0, wanted.count(shard)
    try:
        with path.open("rb") as file:
            for sample in group_by_keys(tar_file_expander([{"url": str(path), "stream": file}])):
                name = f"{shard.name}/{sample['__key__']}"
                if "png" not in sample or "cls" not in sample:
                    raise DataError(f"picture {name} has no {'.cls' if 'png' in sample else '.png'} member")
                label = wanted.labels.get(_label(name, sample["cls"]))
                if label is not None:
                    found += 1
                    if found <= count:  # more are counted, for the sentence below, and never handed out
                        yield Encoded(name, sample["png"], label)
    except (OSError, EOFError, tarfile.TarError, ValueError) as error:
        raise DataError(f"shard {path} {_reason(error)}; `distgan prepare ... --verify` checks all shards") from None
    if found != count:
        raise DataError(f"shard {path} holds {found} wanted pictures, its manifest says {count}")


def decode(encoded: Encoded, size: int) -> np.ndarray:
    """uint8 [size, size, 3]. Raises DataError naming shard and member."""
    try:
        with Image.open(io.BytesIO(encoded.png)) as picture:
            pixels = np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))
    except UnidentifiedImageError:
        raise DataError(f"picture {encoded.name} cannot be decoded: its bytes are no picture") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"picture {encoded.name} cannot be decoded: {error}") from None
    if pixels.shape != (size, size, 3):
        raise DataError(
            f"picture {encoded.name} is {pixels.shape[1]}x{pixels.shape[0]}, its manifest says {size}x{size}"
        )
    return pixels


def first_pictures(wanted: Wanted, count: int) -> np.ndarray:
    """uint8 [<= count, 3, size, size]: the first pictures of the shards, to be looked at beside samples."""
    pictures: list[np.ndarray] = []
    for shard in wanted.shards:
        for encoded in read_shard(wanted, shard):
            pictures.append(decode(encoded, wanted.size))
            if len(pictures) == count:
                return np.stack(pictures).transpose(0, 3, 1, 2)
    return np.stack(pictures).transpose(0, 3, 1, 2)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "is missing"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    text = str(error.args[0]) if error.args else type(error).__name__
    return f"is damaged: {text.split(' @ ')[0]}"  # WebDataset adds the file object


def _label(name: str, text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        raise DataError(f"{name}.cls holds {text[:20]!r}, which is not a class number") from None
