"""Encoded images of a shard in, pixels out, with errors that name shard and image."""

from __future__ import annotations

import io
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from distgan.data.bad_samples import BadSample
from distgan.data.fit import MAX_PIXELS, Fit, Square, fit_image
from distgan.data.jpeg import fast_jpeg, fit_pixels
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
    fit: Square | None = None
    """How an image of another size is brought to this one; None: it is an error."""
    exact: bool = True
    """Images are as distgan writes them: upright, and without transparency."""

    def as_fit(self) -> Fit:
        """The same, for `fit_image`."""
        return Fit(self.size, self.fit or "crop", "gray" if self.channels == 1 else "rgb")


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
    data, format_ = encoded.file
    pixels = fast_jpeg(data) if format_ == "jpg" else None
    if pixels is not None and (form.fit is not None or pixels.shape[:2] == (form.size, form.size)):
        return fit_pixels(pixels, form.as_fit())
    try:
        if format_ == "png":
            check_crcs(data)
        with Image.open(io.BytesIO(data), formats=(PILLOW_NAMES[format_],)) as image:
            _check_size(image, encoded.name, form)  # before its pixels get memory
            if not form.exact:
                return fit_image(image, form.as_fit())
            mode = MODES[form.channels]
            pixels = np.asarray(image if image.mode == mode else image.convert(mode))
            return pixels if form.channels > 1 else pixels[:, :, None]
    except UnidentifiedImageError:
        raise DataError(f"image {encoded.name} cannot be decoded: its bytes are not an image") from None
    except DataError:
        raise
    except Exception as error:  # a damaged image can raise nearly anything
        reason = printable(str(error)) or type(error).__name__
        raise DataError(f"image {encoded.name} cannot be decoded: {reason}") from None


def _check_size(image: Image.Image, name: str, form: ImageForm) -> None:
    size = f"image {name} is {image.width}x{image.height}"
    if form.fit is None and image.size != (form.size, form.size):
        raise DataError(f"{size}, its manifest says {form.size}x{form.size}")
    if image.width * image.height > MAX_PIXELS:
        raise DataError(f"{size}, more than {MAX_PIXELS:,} pixels; make it smaller")
