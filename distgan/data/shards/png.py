"""PNGs: images encoded for a shard, and decoded from one with errors that name shard and image."""

from __future__ import annotations

import io
import zlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from distgan.data.bad_samples import BadSample
from distgan.utils.errors import DataError
from distgan.utils.safe_io import printable

Pixels = npt.NDArray[np.uint8]
"""[size, size, 3]."""
PNG_LEVEL = 1  # of compression; 32x32: 98 us and 2,287 bytes an image; level 6 takes 15 % longer and saves nothing


class EncodedImage(NamedTuple):
    """An image as it is stored in a shard."""

    name: str
    """SHARD/KEY, for errors."""
    png: bytes
    label: int
    """Index in the selected classes."""


class DecodedImage(NamedTuple):
    """An image ready for a batch."""

    pixels: Pixels
    label: int
    """Index in the selected classes."""


def encode_png(image: Pixels) -> bytes:
    """Encodes uint8 [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def try_decode(item: EncodedImage | DecodedImage | BadSample, size: int) -> DecodedImage | BadSample:
    """Decodes an image that is still encoded; an image that cannot be decoded becomes a BadSample."""
    if not isinstance(item, EncodedImage):
        return item
    try:
        return DecodedImage(decode_png(item, size), item.label)
    except DataError as error:
        return BadSample(item.name, str(error))


def decode_png(encoded: EncodedImage, size: int) -> Pixels:
    """Returns uint8 [size, size, 3]. Raises DataError naming shard and image."""
    try:
        _check_crcs(encoded.png)
        with Image.open(io.BytesIO(encoded.png), formats=("PNG",)) as image:
            if image.size != (size, size):  # compared before its pixels get memory
                raise DataError(
                    f"image {encoded.name} is {image.width}x{image.height}, its manifest says {size}x{size}"
                )
            return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except UnidentifiedImageError:
        raise DataError(f"image {encoded.name} cannot be decoded: its bytes are not an image") from None
    except DataError:
        raise
    except Exception as error:  # a damaged image can raise nearly anything
        reason = printable(str(error)) or type(error).__name__
        raise DataError(f"image {encoded.name} cannot be decoded: {reason}") from None


def _check_crcs(png: bytes) -> None:
    """Raises ValueError for a wrong CRC in a chunk of a PNG: Pillow ignores some of them."""
    position = 8
    while png.startswith(b"\x89PNG\r\n\x1a\n") and position < len(png):
        length = int.from_bytes(png[position : position + 4], "big")
        end = position + 12 + length
        crc = int.from_bytes(png[end - 4 : end], "big")
        if zlib.crc32(png[position + 4 : end - 4]) != crc or end > len(png):
            raise ValueError(f"a byte from {position} on is wrong")
        position = len(png) if png[position + 4 : position + 8] == b"IEND" else end
