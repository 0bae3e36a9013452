"""One encoded image in, its pixels out, or what is wrong with it by name."""

from __future__ import annotations

import io
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from distgan.data.bad_samples import BadSample
from distgan.utils.errors import DataError
from distgan.utils.safe_io import printable


class Encoded(NamedTuple):
    """An image as it lies in the shard."""

    name: str
    """SHARD/KEY, for errors."""
    png: bytes
    label: int
    """Place among the wanted classes."""


class DecodedImage(NamedTuple):
    """An image to be shown."""

    pixels: np.ndarray
    """uint8 [size, size, 3]."""
    label: int


def decoded(item: Encoded | DecodedImage | BadSample, size: int) -> DecodedImage | BadSample:
    """The image, or what is wrong with it."""
    if not isinstance(item, Encoded):
        return item
    try:
        return DecodedImage(decode(item, size), item.label)
    except DataError as error:
        return BadSample(item.name, str(error))


def decode(encoded: Encoded, size: int) -> np.ndarray:
    """uint8 [size, size, 3]. Raises DataError naming shard and member."""
    try:
        _check_png(encoded.png)
        with Image.open(io.BytesIO(encoded.png), formats=("PNG",)) as image:
            if image.size != (size, size):  # before its pixels are given memory
                raise DataError(
                    f"image {encoded.name} is {image.width}x{image.height}, its manifest says {size}x{size}"
                )
            return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except UnidentifiedImageError:
        raise DataError(f"image {encoded.name} cannot be decoded: its bytes are no image") from None
    except DataError:
        raise
    except Exception as error:  # a damaged image can raise nearly anything
        reason = printable(str(error)) or type(error).__name__
        raise DataError(f"image {encoded.name} cannot be decoded: {reason}") from None


def _check_png(data: bytes) -> None:
    """Raises ValueError where a part of a PNG has another CRC than it says: Pillow passes over some of them."""
    place = 8
    while data.startswith(b"\x89PNG\r\n\x1a\n") and place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        end = place + 12 + length
        if zlib.crc32(data[place + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big") or end > len(data):
            raise ValueError(f"a byte from {place} on is wrong")
        place = len(data) if data[place + 4 : place + 8] == b"IEND" else end
