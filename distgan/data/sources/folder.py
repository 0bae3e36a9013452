"""Class sub-folders of PNG, JPEG or WebP files, as square RGB images.

Each image is rotated as its EXIF data says, converted to 8-bit RGB (`to_rgb`), cut to its central square and resized
with Lanczos. A file in a class folder that is not an image is an error that names it, unless `skip_bad` is set.
"""

from __future__ import annotations

import hashlib
import os
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from distgan.data.shards.png import Pixels
from distgan.data.sources.base import Offer, SourceImages, select_classes
from distgan.utils.counter_rng import IntArray
from distgan.utils.errors import DataError

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 89_478_485  # of a file: Pillow's own limit against images that would fill the memory
IGNORED_NAMES = ("thumbs.db", "desktop.ini", "__macosx")
SPLITS = ("train", "test")
SKIP_HINT = "remove or repair it, or pass --skip-bad to leave such files out"


@dataclass(frozen=True)
class Folder:
    """The source `folder`: the images below a directory."""

    directory: Path
    size: int = 32
    """Height and width of the images that are made, pixels."""
    skip_bad: bool = False
    """Leave out files that are not images, and list them."""

    def offer(self, split: str, classes: tuple[str, ...] | None) -> Offer:
        """Describes a split; lists the files but reads none. See `Source`."""
        root = split_root(self.directory, split)
        folders = class_folders(root)
        names = select_classes(folders, classes)
        files: list[Path] = []
        labels: list[int] = []
        digest = hashlib.sha256()
        for label, name in enumerate(names):
            found = list(walk(root / name))
            if not found:
                raise DataError(f"{root / name} holds no image; add some, remove it, or leave it out with --classes")
            for path, size in found:
                digest.update(os.fsencode(f"{path.relative_to(root).as_posix()}\0{size}\0"))
            files += [path for path, _ in found]
            labels += [label] * len(found)
        request = {"listing": digest.hexdigest(), "size": self.size, "skip_bad": self.skip_bad}
        return Offer("folder", self.size, names, request, lambda progress: self._images(files, np.array(labels)))

    def _images(self, files: list[Path], labels: IntArray) -> SourceImages:
        def read(rows: IntArray) -> list[Pixels | None]:
            return [load(files[row]) for row in rows]

        def load(path: Path) -> Pixels | None:
            try:
                return load_image(path, self.size)
            except DataError as error:
                if not self.skip_bad:
                    raise
                images.notes.append(f"skipped: {str(error).removesuffix('; ' + SKIP_HINT)}")
                return None

        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `load_image` makes it an error
        images = SourceImages(np.arange(len(files)), labels, read)
        return images


def split_root(directory: Path, split: str) -> Path:
    """Returns the parent of the class folders: DIR/SPLIT if DIR/train or DIR/test holds folders, else DIR.

    Raises DataError if only the other split is there.
    """
    parts = [name for name in SPLITS if (directory / name).is_dir() and _folders(directory / name)]
    if not parts:
        return directory
    if split not in parts:
        raise DataError(f"{directory} has no {split} split, only {parts[0]}; pass --split {parts[0]}")
    return directory / split


def class_folders(root: Path) -> tuple[str, ...]:
    """Returns the sorted names of the sub-folders. Raises DataError if there is none, or one is a link."""
    names = _folders(root)
    if not names:
        raise DataError(f"{root} has no sub-folder; put the images in one folder per class, as in {root}/cat/1.png")
    for name in names:
        if (root / name).is_symlink():
            raise DataError(f"{root / name} is a link to a directory, and those are not followed; put the folder there")
        if not name.isprintable() or os.fsencode(name) != name.encode(errors="replace"):
            raise DataError(f"{root} has a sub-folder whose name is not text, {name!r}; rename it")
    return names


def walk(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yields the files below a class folder and their sizes in bytes, sorted; no hidden files, no IGNORED_NAMES."""
    for entry in _entries(folder):
        path = Path(entry.path)
        if entry.is_dir():
            if entry.is_symlink():
                raise DataError(f"{path} is a link to a directory, and those are not followed; put the folder there")
            yield from walk(path)
        else:
            try:
                yield path, entry.stat().st_size
            except OSError:  # a link to nothing or to itself; an error when it is read
                yield path, 0


def load_image(path: Path, size: int) -> Pixels:
    """Loads one file as uint8 [size, size, 3]. Raises DataError, naming the file, if it cannot be read as an image."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path} is not a regular file; {SKIP_HINT}")
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            return square(to_rgb(upright(image)), size)
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{path} is not a PNG, JPEG or WebP image; {SKIP_HINT}") from None
    except Image.DecompressionBombError:
        raise DataError(f"{path} has more than {MAX_PIXELS:,} pixels; make it smaller, or pass --skip-bad") from None
    except Exception as error:  # a damaged image can raise nearly anything
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(f"{path} cannot be read ({reason}); {SKIP_HINT}") from None


def upright(image: Image.Image) -> Image.Image:
    """Rotates and mirrors an image as its EXIF orientation says; ignores damaged EXIF data."""
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts an image of any mode to 8-bit RGB: transparency on white, 16 bits scaled to 8, grey repeated."""
    if image.mode.startswith("I"):  # 16-bit grey, mode I or I;16 depending on Pillow's version
        values = np.asarray(image).astype(np.int64)
        grey = np.clip((values + 128) // 257, 0, 255)
        if isinstance(transparent := image.info.get("transparency"), int):
            grey[values == transparent] = 255
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def square(image: Image.Image, size: int) -> Pixels:
    """Cuts out the central square of an RGB image and resizes it with Lanczos: uint8 [size, size, 3]."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    if image.size != (size, size):
        image = image.crop(box) if side == size else image.resize((size, size), Image.Resampling.LANCZOS, box=box)
    return np.asarray(image)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            visible = [e for e in entries if not e.name.startswith(".") and e.name.lower() not in IGNORED_NAMES]
    except NotADirectoryError:
        raise DataError(f"{folder} is a file, not a directory of class sub-folders") from None
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from None
    return sorted(visible, key=lambda entry: entry.name)


def _folders(directory: Path) -> tuple[str, ...]:
    return tuple(entry.name for entry in _entries(directory) if entry.is_dir())
