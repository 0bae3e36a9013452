"""One image file in, an image of the data set out, as `Fit` says, or a sentence that names the file.

Of an animation or a file with pages, the first one is taken.
"""

from __future__ import annotations

import errno
import functools
import io
import os
import stat
import threading
from collections import Counter
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from PIL import Image, UnidentifiedImageError

from distgan.data.fit import DEEP, MAX_PIXELS, Fit, deep_to_grey, fit_image, is_gray, to_rgb, upright
from distgan.data.jpeg import fast_jpeg, fit_pixels
from distgan.data.shards.decode import ImageFile, ImageFormat
from distgan.data.shards.png import Pixels, check_crcs
from distgan.data.shards.samples import MAX_EXTRA_BYTES
from distgan.utils.errors import DataError
from distgan.utils.safe_io import open_regular

KNOWN_FORMATS = (
    "PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO", "PCX", "SGI", "QOI", "PSD",
    "DDS", "TGA",
)  # fmt: skip
"""Images of pixels. Not among them: formats for which Pillow starts another program (EPS), and documents."""
MAX_FILE_BYTES = 32 << 20  # of an image that is held encoded and decoded
MUCH_LARGER = 2  # times the size of the data set
MAX_SIZES = 10_000  # that are counted by name
KEPT: dict[str, ImageFormat] = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}
ORIENTATION = 0x0112  # in EXIF data; 1: upright
DARK = 0.5  # of white: an image whose largest value is below this share is dark
SKIP_HINT = "remove or repair it, or pass --skip-bad to leave such files out"


@functools.cache
def formats() -> tuple[str, ...]:
    """Those of KNOWN_FORMATS that this Pillow reads."""
    Image.init()
    return tuple(name for name in KNOWN_FORMATS if name in Image.OPEN)


@functools.cache
def suffixes() -> frozenset[str]:
    """The usual endings of the names of image files, such as .jpg."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats())


def is_image_name(name: str) -> bool:
    """Whether a file's name has an image's ending."""
    return os.path.splitext(name)[1].lower() in suffixes()


def is_image(path: str | Path) -> bool:
    """Whether a file is an image, by its name's ending or, with another ending, by its first bytes."""
    if is_image_name(os.fspath(path)):
        return True
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return True  # reading it says what is wrong
        with Image.open(path, formats=formats()):
            return True
    except UnidentifiedImageError:
        return False
    except Exception:
        return True


class ImageReader:
    """Reads files as `fit` says, in any number of threads; remembers what it has seen that a user should know."""

    def __init__(self, fit: Fit, white: float | None = None, keep_format: bool = False) -> None:
        """white: the value that becomes white in images of more than 8 bits. keep_format: keep files that fit."""
        self.fit, self.white, self.keep_format = fit, white, keep_format
        self.sizes: Counter[tuple[int, int]] = Counter()
        """Images by width and height, before they are fitted; beyond MAX_SIZES, as (0, 0)."""
        self._lock = threading.Lock()
        self._deep, self._coloured = _Seen(), _Seen()
        self._changed = self._encoded_again = 0

    def read(self, path: Path | str) -> Pixels | ImageFile:
        """Reads one file as uint8 [size, size, channels]; with `keep_format`, one of this form as it is.

        Raises DataError, naming the file, if it cannot be read.
        """
        try:
            with open_regular(path, buffering=0) as file:
                if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:  # read piece by piece
                    return self._decode(io.BufferedReader(cast(io.FileIO, file)), f"{path}", b"")
                data = file.read()
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise DataError(f"{path} is not a regular file; {SKIP_HINT}") from None
            raise DataError(f"{path} cannot be read ({error.strerror}); {SKIP_HINT}") from None
        return self.decode(data, f"{path}")

    def decode(self, data: bytes, name: str) -> Pixels | ImageFile:
        """Decodes the content of a file, as `read`. name: of the file, for errors. Raises DataError."""
        if (pixels := fast_jpeg(data)) is not None:
            return self._of_jpeg(pixels, data)
        return self._decode(io.BytesIO(data), name, data if self.keep_format else b"")

    def notes(self) -> list[str]:
        """Sentences about the images that were read: those of more than 8 bits, and those that were converted."""
        again = f"{self._encoded_again:,} image(s) are not of the data set's form, and were encoded as PNG"
        notes = [
            self._note_on_grey(),
            self._note_on_colours(),
            self._note_on_channels(),
            *size_notes(self.sizes, self.fit),
        ]
        return [note for note in (*notes, again if self._encoded_again else "") if note]

    def _decode(self, file: BinaryIO, name: str, data: bytes) -> Pixels | ImageFile:
        """data: the file's content, if it may be kept."""
        try:
            with Image.open(file, formats=formats()) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError
                pixels = fit_image(self._of_8_bits(image, name), self.fit)
                kept = self._kept(image, data) if data else None
                self._note(image.size, is_gray(image), encoded=kept is None)
                return pixels if kept is None else kept
        except DataError:
            raise
        except UnidentifiedImageError:
            raise DataError(f"{name} is not an image that Pillow reads; {SKIP_HINT}") from None
        except Image.DecompressionBombError:
            raise DataError(
                f"{name} has more than {MAX_PIXELS:,} pixels; make it smaller, or pass --skip-bad"
            ) from None
        except Exception as error:  # a damaged image can raise nearly anything
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise DataError(f"{name} cannot be read ({reason}); {SKIP_HINT}") from None

    def _of_jpeg(self, pixels: Pixels, data: bytes) -> Pixels | ImageFile:
        """The image that `_decode` gives, of pixels that are decoded already."""
        height, width, channels = pixels.shape
        keep = self.keep_format and pixels.shape == (self.fit.size, self.fit.size, self.fit.channel_count)
        kept = keep and len(data) <= self._most_kept()
        self._note((width, height), channels == 1, encoded=not kept)
        if kept:
            return ImageFile(data, "jpg")
        return fit_pixels(pixels, self.fit)

    def _kept(self, image: Image.Image, data: bytes) -> ImageFile | None:
        """The file as it is, if every reader makes of it what `fit_image` does. Raises ValueError for a damaged PNG."""
        form = (self.fit.size, self.fit.size), "RGB" if self.fit.channels == "rgb" else "L"
        if (image.size, image.mode) != form or image.format not in KEPT or len(data) > self._most_kept():
            return None
        turned = image.getexif().get(ORIENTATION, 1) != 1
        if turned or image.has_transparency_data or getattr(image, "n_frames", 1) > 1 or _is_cut_to_8_bits(image):
            return None
        if image.format == "PNG":
            check_crcs(data)
        return ImageFile(data, KEPT[image.format])

    def _most_kept(self) -> int:
        """Bytes of the largest file that a shard may hold as it is."""
        return MAX_EXTRA_BYTES + 8 * self.fit.size**2

    def _note(self, size: tuple[int, int], is_grey: bool, encoded: bool) -> None:
        with self._lock:
            self._changed += is_grey == (self.fit.channels == "rgb")
            self._encoded_again += encoded and self.keep_format
            known = size in self.sizes or len(self.sizes) < MAX_SIZES
            self.sizes[size if known else (0, 0)] += 1

    def _note_on_channels(self) -> str:
        if not self._changed:
            return ""
        if self.fit.channels == "gray":
            return f"{self._changed:,} colour image(s) were made grey"
        return f"{self._changed:,} grey image(s) were made RGB; --channels gray keeps one channel"

    def _note_on_grey(self) -> str:
        count, largest = self._deep.count, self._deep.largest
        if not count or (self.white is not None and largest <= self.white):
            return ""
        start = f"images of more than 8 bits ({count:,}): the largest value is {largest:,g}"
        if self.white is not None:
            return f"{start}, and all above --white {self.white:,g} became white"
        dark = f", so they are dark; --white {largest:g} makes this value white" if largest < DARK * DEEP else ""
        return f"{start} of {DEEP:,}{dark}"

    def _note_on_colours(self) -> str:
        count, largest = self._coloured.count, self._coloured.largest
        if not count:
            return ""
        start = f"images with 16-bit colours ({count:,}): the upper 8 bits were read"
        dark = ", so they are dark; scale them to 8 bits with another program" if largest < DARK * 255 else ""
        return f"{start}; the largest value is about {largest * 257:,.0f} of {DEEP:,}{dark}"

    def _of_8_bits(self, image: Image.Image, name: str) -> Image.Image:
        """An image of at most 8 bits from any, upright. Raises DataError where nothing says which value is white."""
        cut = _is_cut_to_8_bits(image)
        if cut and self.white is not None:
            raise DataError(f"{name} has 16-bit colours, and --white scales grey images only; convert it to 8 bits")
        if not cut and not image.mode.startswith(("I", "F")):
            return image
        image = upright(image)
        if cut:
            self._remember(self._coloured, float(np.asarray(to_rgb(image)).max()))
            return image
        values = np.nan_to_num(np.asarray(image).astype(np.float64))
        largest = float(values.max())
        if self.white is None and (image.mode.startswith("F") or largest > DEEP):
            raise DataError(
                f"{name} has values up to {largest:,g}, and nothing says which one is white; pass --white VALUE, or "
                "--skip-bad to leave such files out"
            )
        self._remember(self._deep, largest)
        return deep_to_grey(values, self.white or DEEP, image.info.get("transparency"))

    def _remember(self, seen: _Seen, largest: float) -> None:
        with self._lock:
            seen.count += 1
            seen.largest = max(seen.largest, largest)


def size_notes(sizes: Counter[tuple[int, int]], fit: Fit) -> list[str]:
    """Sentences about images that were enlarged, or made much smaller. sizes: as `ImageReader.sizes`."""
    known = {size: count for size, count in sizes.items() if min(size) > 0}
    notes = []
    small = sum(count for size, count in known.items() if min(size) < fit.size)
    if small and fit.fit != "pad":
        notes.append(f"{small:,} image(s) have a side below {fit.size} pixels, and were enlarged")
    large = {size: count for size, count in known.items() if min(size) >= MUCH_LARGER * fit.size}
    if large and 2 * sum(large.values()) >= sizes.total():
        width, height = max(large, key=lambda size: (large[size], size))
        notes.append(
            f"{sum(large.values()):,} image(s) are at least {MUCH_LARGER} times as large as {fit.size}x{fit.size}, "
            f"such as {width}x{height}; --size makes larger ones"
        )
    return notes


class _Seen:
    """A number of images, and the largest value in them."""

    def __init__(self) -> None:
        self.count, self.largest = 0, 0.0


def _is_cut_to_8_bits(image: Image.Image) -> bool:
    """Whether Pillow will keep the upper halves of 16-bit numbers only, as it does for colours."""
    raw_modes = " ".join(str(tile[3]) for tile in getattr(image, "tile", ()))
    return ";16" in raw_modes and not image.mode.startswith("I")
