"""PNGs: images encoded for a shard, and the check of one's bytes."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
"""[size, size, channels]; channels: 1 (gray) or 3 (RGB)."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"
SMALL = 60_000  # bytes of pixels that surely fit into one chunk of Pillow's
PNG_LEVEL = 1  # of compression; 32x32: 98 us and 2,287 bytes an image; level 6 takes 15 % longer and saves nothing


def encode_png(image: Pixels) -> bytes:
    """Encodes uint8 [H, W, 1 or 3]: to the bytes that Pillow's `save` makes, of which small images need a few parts."""
    plain = image_of(image)
    if image.nbytes > SMALL:
        buffer = io.BytesIO()
        plain.save(buffer, "PNG", compress_level=PNG_LEVEL)
        return buffer.getvalue()
    data = plain.tobytes("zip", plain.mode, False, PNG_LEVEL, -1, b"")
    head = struct.pack(">IIBBBBB", *plain.size, 8, 2 if plain.mode == "RGB" else 0, 0, 0, 0)
    return b"".join((SIGNATURE, _chunk(b"IHDR", head), _chunk(b"IDAT", data), _END))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


_END = _chunk(b"IEND", b"")


def image_of(pixels: Pixels) -> Image.Image:
    """The Pillow image of uint8 [H, W, 1 or 3]."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def check_crcs(png: bytes) -> None:
    """Raises ValueError for a wrong CRC in a chunk of a PNG: Pillow ignores some of them."""
    position = 8
    while png.startswith(SIGNATURE) and position < len(png):
        length = int.from_bytes(png[position : position + 4], "big")
        end = position + 12 + length
        crc = int.from_bytes(png[end - 4 : end], "big")
        if zlib.crc32(png[position + 4 : end - 4]) != crc or end > len(png):
            raise ValueError(f"a byte from {position} on is wrong")
        position = len(png) if png[position + 4 : position + 8] == b"IEND" else end
