"""Images that lie in memory as one array: their classes, and their shape."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from distgan.data.fit import fit_image
from distgan.data.shards.png import Pixels, image_of
from distgan.data.sources.base import SourceImages
from distgan.data.sources.fitted import Shaped
from distgan.data.sources.image_file import size_notes
from distgan.utils.counter_rng import IntArray
from distgan.utils.errors import DataError


def select_rows(
    labels: npt.NDArray[np.int64], available: Sequence[str], chosen: Sequence[str], missing: str
) -> tuple[IntArray, IntArray]:
    """The rows of the chosen classes [n], and each one's index in `chosen` [n].

    labels: [N], index in `available`, -1 for none. missing: begins the sentence about a class without images.

    Raises DataError.
    """
    label_map = np.array([*(chosen.index(name) if name in chosen else -1 for name in available), -1])
    keys = np.flatnonzero(label_map[labels] >= 0)
    counts = np.bincount(label_map[labels[keys]], minlength=len(chosen))
    if not counts.all():
        raise DataError(f"{missing} of class {chosen[int(np.argmin(counts))]}; leave it out with --classes")
    return keys, label_map[labels[keys]]


def rgb_rows(images: npt.NDArray[np.uint8], keys: IntArray) -> Callable[[IntArray], list[Pixels]]:
    """Reads rows of images that are as they shall be. images: uint8 [N, size, size, channels]; keys: rows of it."""
    return lambda rows: list(np.ascontiguousarray(images[keys[rows]]))


def fitted_array(
    options: Shaped, images: npt.NDArray[np.uint8], keys: IntArray, labels: IntArray, notes: list[str]
) -> SourceImages:
    """Some of the images of an array, made as the options say.

    images: uint8 [N, H, W, C], C: 1 (grey), 3 (RGB) or 4 (with transparency); keys, labels: [n], as in `select_rows`.
    """
    height, width, channels = images.shape[1:]
    size, wanted = options.size, 3 if options.channels == "rgb" else 1
    if channels != wanted and wanted == 3 and channels == 1:
        notes = [*notes, f"{len(keys):,} grey image(s) were made RGB; --channels gray keeps one channel"]
    if wanted == 1 and channels != 1:
        notes = [*notes, f"{len(keys):,} colour image(s) were made grey"]
    if (height, width, channels) == (size, size, wanted):
        return SourceImages(keys, labels, rgb_rows(images, keys), notes)
    notes = [*notes, *size_notes(Counter({(width, height): len(keys)}), options.as_fit())]
    fit, sizes, lock = options.as_fit(), Counter[tuple[int, int]](), threading.Lock()

    def read(rows: IntArray) -> list[Pixels]:
        with lock:
            sizes[width, height] += len(rows)
        return [fit_image(image_of(images[key]), fit) for key in keys[rows]]

    return SourceImages(keys, labels, read, notes, sizes=sizes)
