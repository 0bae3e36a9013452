"""Encoded images of a shard in, pixels out, with errors that name shard and image."""

from __future__ import annotations

import io
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from distgan.data.bad_samples import BadSample
from distgan.data.shards.png import Pixels, check_crcs
from distgan.utils.errors import DataError
from distgan.utils.safe_io import printable

ImageFormat = Literal["png", "jpg", "webp", "raw"]
"""raw: the planes of the channels, one after another; only in blocks."""
PILLOW_NAMES: dict[str, str] = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}
MODES = {1: "L", 3: "RGB"}


class ImageForm(NamedTuple):
    """What an image of a data set must be."""

    size: int
    """Height and width, pixels."""
    channels: int
    """1: gray, 3: RGB."""


class ImageFile(NamedTuple):
    """An image as the bytes of its file."""

    data: bytes
    format: ImageFormat


class EncodedImage(NamedTuple):
    """An image as it is stored in a shard."""

    name: str
    """SHARD/KEY, for errors."""
    file: ImageFile
    label: int
    """Index in the selected classes."""


class DecodedImage(NamedTuple):
    """An image ready for a batch."""

    pixels: Pixels
    label: int
    """Index in the selected classes."""


def try_decode(item: EncodedImage | DecodedImage | BadSample, form: ImageForm) -> DecodedImage | BadSample:
    """Decodes an image that is still encoded; an image that cannot be decoded becomes a BadSample."""
    if not isinstance(item, EncodedImage):
        return item
    try:
        return DecodedImage(decode(item, form), item.label)
    except DataError as error:
        return BadSample(item.name, str(error))


def decode(encoded: EncodedImage, form: ImageForm) -> Pixels:
    """Returns uint8 [size, size, channels]. Raises DataError naming shard and image."""
    size, mode = form.size, MODES[form.channels]
    data, format_ = encoded.file
    try:
        if format_ == "png":
            check_crcs(data)
        with Image.open(io.BytesIO(data), formats=(PILLOW_NAMES[format_],)) as image:
            if image.size != (size, size):  # compared before its pixels get memory
                raise DataError(
                    f"image {encoded.name} is {image.width}x{image.height}, its manifest says {size}x{size}"
                )
            return np.asarray(image if image.mode == mode else image.convert(mode)).reshape(size, size, form.channels)
    except UnidentifiedImageError:
        raise DataError(f"image {encoded.name} cannot be decoded: its bytes are not an image") from None
    except DataError:
        raise
    except Exception as error:  # a damaged image can raise nearly anything
        reason = printable(str(error)) or type(error).__name__
        raise DataError(f"image {encoded.name} cannot be decoded: {reason}") from None
