"""JPEGs decoded by libjpeg-turbo itself (simplejpeg), where that gives the pixels that Pillow gives, and much sooner.

`pip install "distgan[jpeg]"` installs it. Measured beside Pillow in docs/performance_data.md.
"""

from __future__ import annotations

import functools
from types import ModuleType

import numpy as np

from distgan.data.fit import MAX_PIXELS, Fit, fit_image
from distgan.data.shards.png import Pixels, image_of

CHANNELS = {"YCbCr": "RGB", "Gray": "GRAY"}  # what Pillow decodes by the same steps
APP1, SCAN = 0xE1, 0xDA  # markers: EXIF or XMP data, which may hold a rotation; the beginning of the pixels


def fast_jpeg(data: bytes) -> Pixels | None:
    """Returns uint8 [H, W, 1 or 3] of an upright JPEG; None where Pillow has to decide: damage, CMYK, a rotation."""
    library = _library()
    if library is None or not _is_plain(data):
        return None
    try:
        height, width, colours, _ = library.decode_jpeg_header(data)
        if colours not in CHANNELS or height * width > MAX_PIXELS:
            return None
        pixels: Pixels = library.decode_jpeg(data, CHANNELS[colours])
    except Exception:  # what is wrong, if anything, is said by Pillow
        return None
    return pixels


def fit_pixels(pixels: Pixels, fit: Fit) -> Pixels:
    """What `fit_image` makes of the same image."""
    channels = fit.channel_count
    if pixels.shape[:2] != (fit.size, fit.size) or channels < pixels.shape[2]:
        return fit_image(image_of(pixels), fit)
    return pixels if pixels.shape[2] == channels else np.repeat(pixels, channels, axis=2)


def _is_plain(data: bytes) -> bool:
    """Whether a JPEG has no EXIF and no XMP data before its pixels."""
    position = 2 if data.startswith(b"\xff\xd8\xff") else len(data)
    while data[position : position + 1] == b"\xff" and position + 4 <= len(data):
        if data[position + 1] in (APP1, SCAN):
            return data[position + 1] == SCAN
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return False


@functools.cache
def _library() -> ModuleType | None:
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg  # type: ignore[no-any-return]
