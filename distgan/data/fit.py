"""Any image in, an image of a data set's size and channels out.

An image is rotated as its EXIF data says, converted to 8 bits and to the channels, and made square with Lanczos.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from pydantic import Field

from distgan.data.shards.png import Pixels
from distgan.utils.limits import MAX_SIZE

DEEP = 65_535  # white of an image of 16 bits
MAX_PIXELS = 89_478_485  # of a file: Pillow's own limit against images that would fill the memory
GRAY_MODES = ("1", "L", "LA", "La", "I", "F")
EXIF_KEYS = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp", "Raw profile type xmp")

Square = Literal["crop", "pad", "stretch"]
Channels = Literal["rgb", "gray"]
Size = Annotated[int, Field(ge=1, le=MAX_SIZE)]


@dataclass(frozen=True)
class Fit:
    """How images of any shape become the images of a data set."""

    size: Size = 32
    """Height and width of the images that are made, pixels."""
    fit: Square = "crop"
    """crop: the central square; pad: all of the image on black, made smaller where it is larger and never enlarged;
    stretch: both sides scaled by themselves."""
    channels: Channels = "rgb"
    """rgb: three channels; gray: one."""

    @property
    def channel_count(self) -> Literal[1, 3]:
        """The same as a number."""
        return 3 if self.channels == "rgb" else 1


def fit_image(image: Image.Image, fit: Fit) -> Pixels:
    """Turns an image of any mode into uint8 [size, size, 3 or 1]. 65,535 is white in grey images of 16 bits.

    Raises ValueError for an image of numbers that have no known white, and what Pillow raises for a damaged one.
    """
    image = upright(image)
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image).astype(np.float64)
        if image.mode.startswith("F") or values.max() > DEEP:
            raise ValueError(f"it has values up to {values.max():,g}, and nothing says which one is white")
        image = deep_to_grey(values, DEEP, image.info.get("transparency"))
    image = to_rgb(image) if fit.channels == "rgb" else to_gray(image)
    pixels = np.asarray(squared(image, fit))
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def is_gray(image: Image.Image) -> bool:
    """Whether an image has one channel, apart from transparency."""
    return image.mode in GRAY_MODES or image.mode.startswith("I;16")


def upright(image: Image.Image) -> Image.Image:
    """Rotates and mirrors an image as its EXIF orientation says; ignores damaged EXIF data."""
    image.load()
    if not hasattr(image, "tag_v2") and not any(key in image.info for key in EXIF_KEYS):
        return image
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts an image of at most 8 bits and of any mode to RGB: transparency on white, grey repeated."""
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def to_gray(image: Image.Image) -> Image.Image:
    """Converts an image of at most 8 bits and of any mode to one channel: transparency on white, ITU-R 601."""
    return image if image.mode == "L" and not image.has_transparency_data else to_rgb(image).convert("L")


def deep_to_grey(values: npt.NDArray[np.float64], white: float, transparent: object = None) -> Image.Image:
    """Scales grey values [H, W] from 0 ... white to 0 ... 255. transparent: a value that becomes white as well."""
    grey = np.clip(np.rint(values * 255 / white), 0, 255).astype(np.uint8)
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey)


def squared(image: Image.Image, fit: Fit) -> Image.Image:
    """Brings an image of mode RGB or L to size x size."""
    size = (fit.size, fit.size)
    if image.size == size:
        return image
    if fit.fit == "stretch":
        return image.resize(size, Image.Resampling.LANCZOS)
    if fit.fit == "pad":
        return _padded(image, fit.size)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return image.crop(box) if side == fit.size else image.resize(size, Image.Resampling.LANCZOS, box=box)


def _padded(image: Image.Image, size: int) -> Image.Image:
    longest = max(image.size)
    if longest > size:
        width, height = (max(1, round(side * size / longest)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    canvas = Image.new(image.mode, (size, size))
    canvas.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return canvas
