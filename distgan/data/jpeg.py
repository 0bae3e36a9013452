"""JPEGs decoded by libjpeg-turbo itself (simplejpeg), where that gives the pixels that Pillow gives, and much sooner.

`pip install "distgan[jpeg]"` installs it. Measured beside Pillow in docs/performance.md.
"""

from __future__ import annotations

import functools
from types import ModuleType

import numpy as np

from distgan.data.fit import MAX_PIXELS
from distgan.data.shards.png import Pixels

CHANNELS = {"YCbCr": "RGB", "Gray": "GRAY"}  # what Pillow decodes by the same steps
START = b"\xff\xd8\xff"
START_BYTES = 1 << 16  # in which EXIF data, with a rotation, or XMP data would stand
METADATA = (b"Exif\0\0", b"http://ns.adobe.com/xap/")


def fast_jpeg(data: bytes) -> Pixels | None:
    """Returns uint8 [H, W, 1 or 3] of an upright JPEG; None where Pillow has to decide: damage, CMYK, a rotation."""
    library = _library()
    if library is None or not data.startswith(START) or any(data.find(mark, 0, START_BYTES) >= 0 for mark in METADATA):
        return None
    try:
        height, width, colours, _ = library.decode_jpeg_header(data)
        if colours not in CHANNELS or height * width > MAX_PIXELS:
            return None
        pixels: Pixels = library.decode_jpeg(data, CHANNELS[colours])
    except Exception:  # what is wrong, if anything, is said by Pillow
        return None
    return pixels


def with_channels(pixels: Pixels, channels: int) -> Pixels | None:
    """The same image with gray repeated to RGB; None for colours that have to become gray."""
    if pixels.shape[2] == channels:
        return pixels
    return np.repeat(pixels, channels, axis=2) if pixels.shape[2] == 1 else None


@functools.cache
def _library() -> ModuleType | None:
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg  # type: ignore[no-any-return]
