"""Animated WebP and GIF files that are written frame by frame: Pillow's own writers keep all frames until the end.

Each frame is encoded by Pillow and stands for itself. Sources: developers.google.com/speed/webp/docs/riff_container
(animation), and the GIF89a specification (NETSCAPE2.0 is the extension that starts a film over).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from typing import BinaryIO

from PIL import GifImagePlugin, Image

WEBP = {"quality": 90, "method": 3}
MAX_RIFF = 2**32 - 2  # bytes
ANIMATED, NOT_BLENDED = 2, 2  # flags of a file and of a frame


def write_webp(file: BinaryIO, images: Iterable[Image.Image], size: tuple[int, int], per_second: int) -> None:
    """Writes a film that starts over at its end. images: RGB, of one size (width, height), up to 16,383 pixels a side.

    per_second: 1 to 90 frames; browsers show those of up to 10 ms for 100. Raises OSError if it grows beyond 4 GiB.
    """
    file.write(b"RIFF" + bytes(4) + b"WEBP")
    _chunk(file, b"VP8X", struct.pack("<I", ANIMATED) + _edges(size))
    _chunk(file, b"ANIM", bytes(6))  # of any background, without end
    for number, image in enumerate(images):
        milliseconds = duration(number, per_second, 1000)
        still = io.BytesIO()
        image.save(still, "WEBP", **WEBP)
        place = bytes(6) + _edges(size) + struct.pack("<I", milliseconds)[:3] + bytes([NOT_BLENDED])
        _chunk(file, b"ANMF", place + still.getvalue()[12:])  # without the header of a file
        if file.tell() > MAX_RIFF:
            raise OSError("a WebP holds up to 4 GiB; use fewer frames, or .mp4")
    length = file.tell() - 8
    file.seek(4)
    file.write(struct.pack("<I", length))


def write_gif(file: BinaryIO, images: Iterable[Image.Image], size: tuple[int, int], per_second: int) -> None:
    """Writes a film that starts over at its end, with 256 colours for each frame. Arguments as of `write_webp`.

    per_second: 1 to 50, since times are in hundredths of a second, and browsers show a single one for ten.
    """
    file.write(b"GIF89a" + struct.pack("<HH", *size) + bytes(3))
    file.write(b"!\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00")
    for number, image in enumerate(images):
        frame, milliseconds = image.quantize(256), 10 * duration(number, per_second, 100)
        file.write(b"".join(GifImagePlugin.getdata(frame, duration=milliseconds, include_color_table=True)))
    file.write(b";")


def duration(number: int, per_second: int, units: int) -> int:
    """How long a frame is shown, in 1/units of a second: rounded so that the film as a whole keeps its time."""
    return round((number + 1) * units / per_second) - round(number * units / per_second)


def _chunk(file: BinaryIO, name: bytes, content: bytes) -> None:
    file.write(name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2))


def _edges(size: tuple[int, int]) -> bytes:
    """Width and height, less one, in 24 bits each."""
    return b"".join(struct.pack("<I", side - 1)[:3] for side in size)
