"""A block: some hundreds of raw images in one sample of a shard, to be read many at a time.

`KEY.images.npy` is uint8 [n, 3, size, size], `KEY.labels.npy` int64 [n], as NumPy writes them. `KEY.crc32` is the
CRC-32 of either file, so that damage can be told from what is good. KEY is the place of the first image in its shard.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distgan.data.bad_samples import BadRange
from distgan.data.shards.png import DecodedImage
from distgan.utils.errors import DataError

BYTES = 3 << 19  # of a block's pixels: 512 images of 32x32
IMAGES, LABELS, SUMS = "images.npy", "labels.npy", "crc32"
HEADER = 128  # bytes before the numbers of an .npy file


@dataclass(frozen=True)
class Block:
    """Images that follow each other in a shard."""

    images: npt.NDArray[np.uint8]
    """[n, 3, size, size]."""
    labels: npt.NDArray[np.int64]
    """[n], places among the wanted classes."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice) -> Block:
        return Block(self.images[part], self.labels[part])

    def __iter__(self) -> Iterator[DecodedImage]:
        for image, label in zip(self.images, self.labels.tolist(), strict=True):
            yield DecodedImage(image.transpose(1, 2, 0), label)


def rows(size: int) -> int:
    """The most images of `size` x `size` that a block holds."""
    return max(1, BYTES // (3 * size**2))


def encode(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> dict[str, bytes]:
    """The members of a sample, by their extensions. images: [n, 3, size, size]; labels: [n]."""
    files = {IMAGES: _file(images), LABELS: _file(labels)}
    return {**files, SUMS: " ".join(map(_sum, files.values())).encode()}


def decode(sample: Mapping[str, bytes], name: str, size: int, wanted: Mapping[int, int]) -> Block | BadRange:
    """The wanted images of a sample, or that they are lost.

    name: SHARD/KEY; wanted: class number -> place among the wanted ones. Raises DataError where it cannot be known
    which images are lost.
    """
    for part in (IMAGES, LABELS, SUMS):
        if part not in sample:
            raise DataError(f"block {name} has no .{part} member")
    images_sum, _, labels_sum = sample[SUMS].decode(errors="replace").partition(" ")
    numbers = _numbers(sample[LABELS], "<i8", ())
    if numbers is None or _sum(sample[LABELS]) != labels_sum:
        raise DataError(f"block {name} is damaged: its labels are not as they were written")
    places = _places(numbers, wanted)
    chosen = np.flatnonzero(places >= 0)
    images = _numbers(sample[IMAGES], "|u1", (3, size, size))
    if images is None or len(images) != len(numbers):
        reason = f"it does not hold {len(numbers)} images of {size}x{size}"
    elif _sum(sample[IMAGES]) != images_sum:
        reason = "its images are not as they were written"
    else:
        return Block(images, places) if len(chosen) == len(places) else Block(images[chosen], places[chosen])
    return BadRange(name, range(len(chosen)), f"block {name} is damaged: {reason}")


def _places(numbers: npt.NDArray[np.int64], wanted: Mapping[int, int]) -> npt.NDArray[np.int64]:
    """Class numbers to places among the wanted classes, -1 for all others."""
    known = np.fromiter(sorted(wanted), np.int64)
    found = np.searchsorted(known, numbers).clip(max=len(known) - 1)
    places = np.fromiter((wanted[number] for number in known.tolist()), np.int64)
    return np.where(known[found] == numbers, places[found], -1)


def _file(array: npt.NDArray[Any]) -> bytes:
    return _header(array.dtype.str, array.shape) + array.tobytes()


def _header(kind: str, shape: tuple[int, ...]) -> bytes:
    """Of an .npy file of version 1.0, by its specification: the same bytes with every version of NumPy."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little") + text.ljust(HEADER - 11).encode() + b"\n"


def _numbers(file: bytes, kind: str, row: tuple[int, ...]) -> npt.NDArray[Any] | None:
    """What an .npy file holds, [n, *row]; None if it is of another kind. Nothing in it is interpreted."""
    each = np.dtype(kind).itemsize * math.prod(row)
    count, rest = divmod(len(file) - HEADER, each)
    if count < 0 or rest or not file.startswith(_header(kind, (count, *row))):
        return None
    return np.frombuffer(file, kind, offset=HEADER).reshape(count, *row)


def _sum(file: bytes) -> str:
    return f"{zlib.crc32(file):08x}"
