"""The images below a directory: `folder_layout` and `label_table` find the classes, `image_file` reads a file.

A file in a class folder that is not an image is an error, unless `skip_bad` is set. All such files are listed at once:
those whose first bytes are no image's before the work, damaged images after it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from distgan.data.sources.base import Offer, SourceImages
from distgan.data.sources.fitted import EncodedImages, hint
from distgan.data.sources.image_file import is_image
from distgan.data.sources.listing import Labelled, Listing, describe, list_images
from distgan.data.sources.tree import Directory
from distgan.utils.errors import DataError
from distgan.utils.log import log

MAX_LISTED = 20  # names in a message


@dataclass(frozen=True)
class Folder(Labelled):
    """The source `folder`: the images below a directory."""

    directory: Path

    def offer(self, split: str, classes: tuple[str, ...] | None) -> Offer:
        """Describes a split; lists the files but reads no image. See `Source`."""
        top = Directory(self.directory)
        listing = list_images(top, split, classes, self)
        names, digest, rows = tuple(listing.files), listing.digest(), listing.rows()
        notes = [f"{len(top.links):,} linked folder(s) were followed, such as {top.links[0]}"] if top.links else []
        offer = self.make_offer("folder", names, {"listing": digest}, lambda progress: self._images(listing, notes))
        folder, name = max(rows, key=lambda row: row[0].written(row[1]))
        return replace(offer, newest=(folder.written(name), f"{folder.path / name}"))

    def _images(self, listing: Listing, notes: list[str]) -> SourceImages:
        """Opens the files of each class."""
        paths = {
            name: [os.path.join(folder.path, file) for folder, file in files] for name, files in listing.files.items()
        }
        others = [path for files in paths.values() for path in files if not is_image(path)]
        if others and not self.skip_bad and not listing.why:
            raise DataError(f"{_no_images(others)} that Pillow reads: {_listed(others)}; {hint(others)}")
        if others:
            log.info("note: %s, left out: %s", _no_images(others), _listed(others))
        left_out = set(others)
        paths = {name: [path for path in files if path not in left_out] for name, files in paths.items()}
        counts = {name: len(files) for name, files in paths.items()}
        if empty := [name for name, count in counts.items() if not count]:
            raise DataError(f"class '{empty[0]}' of {listing.root} holds no image that Pillow reads")
        for note in (*listing.notes, *notes, describe(listing.root, listing.why, counts)):
            log.info("%s", note)
        rows = [path for files in paths.values() for path in files]
        labels = np.repeat(np.arange(len(counts)), list(counts.values()))
        return EncodedImages(self, lambda reader, row: reader.read(rows[row])).images(labels)


def _no_images(files: list[str]) -> str:
    return "1 file is no image" if len(files) == 1 else f"{len(files):,} files are no images"


def _listed(files: list[str]) -> str:
    names = ", ".join("/".join(path.split(os.sep)[-2:]) for path in files[:MAX_LISTED])
    return names + (", ..." if len(files) > MAX_LISTED else "")
