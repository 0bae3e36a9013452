"""A block: some hundreds of raw images in one sample of a shard, to be read many at a time.

`KEY.images.npy` is uint8 [n, channels, size, size], `KEY.labels.npy` int64 [n], as NumPy writes them. `KEY.crc32`
holds the CRC-32 of each file, so that damage is found. KEY is the index of the first image in its shard.
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
from distgan.data.shards.decode import DecodedImage, ImageForm
from distgan.utils.counter_rng import IntArray
from distgan.utils.errors import DataError

MAX_BLOCK_BYTES = 3 << 19  # of a block's pixels: 512 images of 32x32
IMAGES, LABELS, CRCS = "images.npy", "labels.npy", "crc32"
HEADER_BYTES = 128  # before the numbers of an .npy file


@dataclass(frozen=True)
class Block:
    """Images that follow each other in a shard."""

    images: npt.NDArray[np.uint8]
    """[n, channels, size, size]."""
    labels: IntArray
    """[n], index in the selected classes."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice) -> Block:
        return Block(self.images[part], self.labels[part])

    def __iter__(self) -> Iterator[DecodedImage]:
        for image, label in zip(self.images, self.labels.tolist(), strict=True):
            yield DecodedImage(image.transpose(1, 2, 0), label)


def max_block_images(form: ImageForm) -> int:
    """Returns how many images of a form a block holds at most."""
    return max(1, MAX_BLOCK_BYTES // (form.channels * form.size**2))


def encode_block(images: npt.NDArray[np.uint8], labels: IntArray) -> dict[str, bytes]:
    """Returns the members of a sample by their extensions. images: [n, channels, size, size]; labels: [n]."""
    files = {IMAGES: _npy_file(images), LABELS: _npy_file(labels)}
    return {**files, CRCS: " ".join(map(_crc, files.values())).encode()}


def decode_block(
    sample: Mapping[str, bytes], name: str, form: ImageForm, label_map: Mapping[int, int]
) -> Block | BadRange:
    """Returns the selected images of a sample, or a BadRange of as many if its pixels are damaged.

    name: SHARD/KEY; label_map: label in the shard -> index in the selected classes. Raises DataError if the labels are
    damaged: then it is unknown which of the images are selected.
    """
    for part in (IMAGES, LABELS, CRCS):
        if part not in sample:
            raise DataError(f"block {name} has no .{part} member")
    images_crc, _, labels_crc = sample[CRCS].decode(errors="replace").partition(" ")
    shard_labels = _npy_array(sample[LABELS], "<i8", ())
    if shard_labels is None or _crc(sample[LABELS]) != labels_crc:
        raise DataError(f"block {name} is damaged: its labels are not as they were written")
    labels = _map_labels(shard_labels, label_map)
    selected = np.flatnonzero(labels >= 0)
    images = _npy_array(sample[IMAGES], "|u1", (form.channels, form.size, form.size))
    if images is None or len(images) != len(labels):
        reason = f"it does not hold {len(labels)} images of {form.size}x{form.size}"
    elif _crc(sample[IMAGES]) != images_crc:
        reason = "its images are not as they were written"
    else:
        return Block(images, labels) if len(selected) == len(labels) else Block(images[selected], labels[selected])
    return BadRange(name, range(len(selected)), f"block {name} is damaged: {reason}")


def _map_labels(labels: IntArray, label_map: Mapping[int, int]) -> IntArray:
    """Maps labels of a shard to indices in the selected classes; -1 for all other labels."""
    selected = np.fromiter(sorted(label_map), np.int64)
    indices = np.fromiter((label_map[label] for label in selected.tolist()), np.int64)
    nearest = np.searchsorted(selected, labels).clip(max=len(selected) - 1)
    return np.where(selected[nearest] == labels, indices[nearest], -1)


def _npy_file(array: npt.NDArray[Any]) -> bytes:
    return _npy_header(array.dtype.str, array.shape) + array.tobytes()


def _npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Returns the header of an .npy file, version 1.0 of its format: the same bytes with every version of NumPy."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    length = (HEADER_BYTES - 10).to_bytes(2, "little")
    return b"\x93NUMPY\x01\x00" + length + text.ljust(HEADER_BYTES - 11).encode() + b"\n"


def _npy_array(file: bytes, dtype: str, row: tuple[int, ...]) -> npt.NDArray[Any] | None:
    """Returns the array [n, *row] of an .npy file; None unless its header is the only one that is allowed."""
    row_bytes = np.dtype(dtype).itemsize * math.prod(row)
    count, rest = divmod(len(file) - HEADER_BYTES, row_bytes)
    if count < 0 or rest or not file.startswith(_npy_header(dtype, (count, *row))):
        return None
    return np.frombuffer(file, dtype, offset=HEADER_BYTES).reshape(count, *row)


def _crc(file: bytes) -> str:
    return f"{zlib.crc32(file):08x}"
