"""The images in class folders: `folder_layout` finds the classes, `image_file` reads a file.

A file in a class folder that is not an image is an error, unless `skip_bad` is set. All such files are listed at once:
those whose first bytes are no image's before the work, damaged images after it.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import PositiveFloat, PositiveInt

from distgan.data.fit import Fit
from distgan.data.shards.png import Pixels
from distgan.data.sources.base import Offer, SourceImages, select_classes
from distgan.data.sources.folder_layout import Layout, entries_in, find_layout, is_folder
from distgan.data.sources.image_file import SKIP_HINT, ImageReader, is_image
from distgan.utils.counter_rng import IntArray
from distgan.utils.errors import DataError
from distgan.utils.log import log
from distgan.utils.names import join_names

MAX_LISTED = 20  # names in a message
MAX_REASONS = 8


@dataclass(frozen=True)
class Folder:
    """The source `folder`: the images below a directory."""

    directory: Path
    size: PositiveInt = 32
    """Height and width of the images that are made, pixels."""
    skip_bad: bool = False
    """Leave out files that are not images, and list them."""
    white: PositiveFloat | None = None
    """The value that becomes white in images of more than 8 bits; None: 65,535."""

    def offer(self, split: str, classes: tuple[str, ...] | None) -> Offer:
        """Describes a split; lists the files but reads none. See `Source`."""
        layout = find_layout(self.directory, split, classes)
        names = select_classes(tuple(layout.folders), classes)
        files: dict[str, list[Path]] = {}
        digest = hashlib.sha256()
        for name in names:
            found = list(walk(layout.folders[name]))
            if not found:
                folder = layout.folders[name]
                raise DataError(f"{folder} holds no image; add some, remove it, or leave it out with --classes")
            for path, size in found:
                digest.update(os.fsencode(f"{path.relative_to(layout.root).as_posix()}\0{size}\0"))
            files[name] = [path for path, _ in found]
        request = {"listing": digest.hexdigest(), "size": self.size, "skip_bad": self.skip_bad}
        if self.white is not None:
            request["white"] = self.white
        return Offer("folder", self.size, names, request, lambda progress: self._images(layout, files))

    def _images(self, layout: Layout, files: dict[str, list[Path]]) -> SourceImages:
        """Opens the files of each class."""
        others = [path for paths in files.values() for path in paths if not is_image(path)]
        if others and not self.skip_bad:
            raise DataError(f"{_no_images(others)} that Pillow reads: {_listed(others)}; {_hint(others)}")
        if others:
            log.info("note: %s, left out: %s", _no_images(others), _listed(others))
        left_out = set(others)
        files = {name: [path for path in paths if path not in left_out] for name, paths in files.items()}
        for note in (*layout.notes, describe_classes(layout.root, files)):
            log.info("%s", note)
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `ImageReader` makes it an error
        labels = np.repeat(np.arange(len(files)), [len(paths) for paths in files.values()])
        opened = _OpenFolder([path for paths in files.values() for path in paths], self)
        return SourceImages(np.arange(len(labels)), labels, opened.read, finish=opened.finish)


class _OpenFolder:
    """Reads files, and collects the reasons why some of them cannot be read."""

    def __init__(self, files: list[Path], source: Folder) -> None:
        self.files, self.skip_bad = files, source.skip_bad
        self.reader = ImageReader(Fit(source.size), source.white)
        self.failures: list[str] = []

    def read(self, rows: IntArray) -> list[Pixels | None]:
        return [self._load(self.files[row]) for row in rows]

    def finish(self) -> list[str]:
        """Notes after all files were read. Raises DataError with all failures, if files may not be left out."""
        failures = sorted(self.failures)
        if failures and not self.skip_bad:
            raise DataError(failures[0] if len(failures) == 1 else _all_failures(failures))
        skipped = [f"skipped: {failure.removesuffix(f'; {SKIP_HINT}')}" for failure in failures]
        return [*self.reader.notes(), *skipped]

    def _load(self, path: Path) -> Pixels | None:
        try:
            return self.reader.read(path)
        except DataError as error:
            if not self.failures and not self.skip_bad:
                log.warning("%s; the other files are still read, to name all at once", error)
            self.failures.append(str(error))
            return None


def describe_classes(root: Path, files: dict[str, list[Path]]) -> str:
    """What was taken for classes, and how many images each has."""
    counts = [f"{join_names([name])} ({len(paths):,} images)" for name, paths in files.items()]
    more = f", ... {join_names(list(files)[-1:])}" if len(counts) > MAX_LISTED else ""
    classes = "1 class" if len(counts) == 1 else f"{len(counts):,} classes"
    return f"{root}: {classes}: {', '.join(counts[:MAX_LISTED])}{more}"


def walk(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yields the files below a class folder and their sizes in bytes, sorted; no hidden files, no IGNORED_NAMES."""
    for entry in entries_in(folder):
        path = Path(entry.path)
        if is_folder(entry):
            if entry.is_symlink():
                raise DataError(f"{path} is a link to a directory, and those are not followed; put the folder there")
            yield from walk(path)
        else:
            try:
                yield path, entry.stat().st_size
            except OSError:  # a link to nothing or to itself; an error when it is read
                yield path, 0


def _all_failures(failures: list[str]) -> str:
    reasons = [failure.removesuffix(f"; {SKIP_HINT}") for failure in failures]
    more = f", and {len(reasons) - MAX_REASONS:,} more" if len(reasons) > MAX_REASONS else ""
    return f"{len(reasons):,} files cannot be used: {', '.join(reasons[:MAX_REASONS])}{more}; {_hint(reasons)}"


def _no_images(files: list[Path]) -> str:
    return "1 file is no image" if len(files) == 1 else f"{len(files):,} files are no images"


def _listed(files: list[Path]) -> str:
    names = ", ".join(f"{path.parent.name}/{path.name}" for path in files[:MAX_LISTED])
    return names + (", ..." if len(files) > MAX_LISTED else "")


def _hint(items: list[Path] | list[str]) -> str:
    return SKIP_HINT if len(items) == 1 else "remove or repair them, or pass --skip-bad to leave such files out"
