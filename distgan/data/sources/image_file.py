"""One image file in, a square 8-bit RGB image out.

The image is rotated as its EXIF data says, converted to 8-bit RGB, cut to its central square and resized with Lanczos.
Of an animation or a file with pages, the first one is taken.
"""

from __future__ import annotations

import functools
import stat
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from distgan.data.shards.png import Pixels
from distgan.utils.errors import DataError

KNOWN_FORMATS = (
    "PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO", "PCX", "SGI", "QOI", "PSD",
    "DDS", "TGA",
)  # fmt: skip
"""Images of pixels. Not among them: formats for which Pillow starts another program (EPS), and documents."""
MAX_PIXELS = 89_478_485  # of a file: Pillow's own limit against images that would fill the memory
DEEP = 65_535  # white of an image of 16 bits
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


def is_image(path: Path) -> bool:
    """Whether a file is an image, by its name's ending or, with another ending, by its first bytes."""
    if path.suffix.lower() in suffixes():
        return True
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return True  # reading it says what is wrong
        with Image.open(path, formats=formats()):
            return True
    except UnidentifiedImageError:
        return False
    except Exception:
        return True


class ImageReader:
    """Reads files as images of one size, in any number of threads; remembers what it has seen of more than 8 bits."""

    def __init__(self, size: int, white: float | None = None) -> None:
        """size: height and width, pixels; white: the value that becomes white in images of more than 8 bits."""
        self.size, self.white = size, white
        self._lock = threading.Lock()
        self._deep, self._coloured = _Seen(), _Seen()

    def read(self, path: Path) -> Pixels:
        """Reads one file as uint8 [size, size, 3]. Raises DataError, naming the file, if it cannot be read."""
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise DataError(f"{path} is not a regular file; {SKIP_HINT}")
            with Image.open(path, formats=formats()) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError
                return square(self._to_rgb(image, path), self.size)
        except DataError:
            raise
        except UnidentifiedImageError:
            raise DataError(f"{path} is not an image that Pillow reads; {SKIP_HINT}") from None
        except Image.DecompressionBombError:
            raise DataError(
                f"{path} has more than {MAX_PIXELS:,} pixels; make it smaller, or pass --skip-bad"
            ) from None
        except Exception as error:  # a damaged image can raise nearly anything
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise DataError(f"{path} cannot be read ({reason}); {SKIP_HINT}") from None

    def notes(self) -> list[str]:
        """Sentences about the images of more than 8 bits that were read."""
        return [note for note in (self._note_on_grey(), self._note_on_colours()) if note]

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

    def _to_rgb(self, image: Image.Image, path: Path) -> Image.Image:
        cut = _is_cut_to_8_bits(image)
        if cut and self.white is not None:
            raise DataError(f"{path} has 16-bit colours, and --white scales grey images only; convert it to 8 bits")
        image = upright(image)
        if not image.mode.startswith(("I", "F")):
            rgb = to_rgb(image)
            if cut:
                self._remember(self._coloured, float(np.asarray(rgb).max()))
            return rgb
        values = np.nan_to_num(np.asarray(image).astype(np.float64))
        largest = float(values.max())
        if self.white is None and (image.mode.startswith("F") or largest > DEEP):
            raise DataError(
                f"{path} has values up to {largest:,g}, and nothing says which one is white; pass --white VALUE, or "
                "--skip-bad to leave such files out"
            )
        self._remember(self._deep, largest)
        return grey_to_rgb(values, self.white or DEEP, image.info.get("transparency"))

    def _remember(self, seen: _Seen, largest: float) -> None:
        with self._lock:
            seen.count += 1
            seen.largest = max(seen.largest, largest)


class _Seen:
    """A number of images, and the largest value in them."""

    def __init__(self) -> None:
        self.count, self.largest = 0, 0.0


def upright(image: Image.Image) -> Image.Image:
    """Rotates and mirrors an image as its EXIF orientation says; ignores damaged EXIF data."""
    image.load()
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


def grey_to_rgb(values: npt.NDArray[np.float64], white: float, transparent: object = None) -> Image.Image:
    """Scales grey values [H, W] from 0 ... white to 0 ... 255. transparent: a value that becomes white as well."""
    grey = np.clip(np.rint(values * 255 / white), 0, 255).astype(np.uint8)
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")


def square(image: Image.Image, size: int) -> Pixels:
    """Cuts out the central square of an RGB image and resizes it with Lanczos: uint8 [size, size, 3]."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    if image.size != (size, size):
        image = image.crop(box) if side == size else image.resize((size, size), Image.Resampling.LANCZOS, box=box)
    return np.asarray(image)


def _is_cut_to_8_bits(image: Image.Image) -> bool:
    """Whether Pillow will keep the upper halves of 16-bit numbers only, as it does for colours."""
    raw_modes = " ".join(str(tile[3]) for tile in getattr(image, "tile", ()))
    return ";16" in raw_modes and not image.mode.startswith("I")
