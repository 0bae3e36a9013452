"""Images in a NumPy archive (.npz): an array uint8 [N, H, W(, C)], with labels or without. Nothing is unpickled."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
from numpy.lib import format as npy

from distgan.data.sources.arrays import fitted_array, select_rows
from distgan.data.sources.base import Offer, SourceImages, check_class_names, select_classes
from distgan.data.sources.fitted import Shaped
from distgan.data.sources.folder_layout import SPLITS
from distgan.utils.errors import DataError
from distgan.utils.limits import MAX_CLASSES, MAX_SIZE
from distgan.utils.names import join_names, known_names
from distgan.utils.safe_io import open_regular, printable

IMAGES = ("{split}_images", "x_{split}", "images_{split}", "images", "image", "x", "data", "arr_0")
LABELS = ("{split}_labels", "y_{split}", "labels_{split}", "labels", "label", "y", "targets", "arr_1")
"""In pairs with IMAGES."""
ONE_CLASS = "images"


@dataclass(frozen=True)
class Npz(Shaped):
    """The source `npz`: the images in an .npz file."""

    archive: Path
    images_key: str | None = None
    """Name of the array of images; None: found by its name."""
    labels_key: str | None = None
    """Name of the array of labels; None: found by its name, if there is one."""

    def offer(self, split: str, classes: tuple[str, ...] | None) -> Offer:
        """Describes a split; reads the list of arrays and the labels. See `Source`."""
        members = _members(self.archive)
        for key, option in ((self.images_key, "--images-key"), (self.labels_key, "--labels-key")):
            if key is not None and key not in members:
                raise DataError(f"{self.archive} holds no array {key} ({option}); {known_names(key, list(members))}")
        images = self.images_key or _found(self.archive, members, (LABELS, IMAGES), split, self.labels_key)
        if images is None:
            raise DataError(
                f"{self.archive} holds no array with a usual name, such as images; there are "
                f"{join_names(list(members), ', ')}; name one with --images-key"
            )
        key = self.labels_key or _found(self.archive, members, (IMAGES, LABELS), split, self.images_key)
        labels, available = self._labels(key)
        names = select_classes(available, classes)
        marks = {each: f"{members[each].file_size}-{members[each].CRC:08x}" for each in (images, key) if each}
        return self.make_offer(
            "npz",
            names,
            {"arrays": marks},
            lambda _: self._images(images, labels, available, names, _note(images, split)),
        )

    def _labels(self, key: str | None) -> tuple[npt.NDArray[np.int64] | None, tuple[str, ...]]:
        """The labels as indices [N], and the names of their classes. Raises DataError."""
        if key is None:
            return None, (ONE_CLASS,)
        array = read_array(self.archive, key, "iuUS")
        if array.ndim > 1 and array.size != len(array):
            raise DataError(
                f"{self.archive}: {key} has the shape {array.shape}; labels are one number or name per image"
            )
        values, labels = np.unique(array.reshape(-1), return_inverse=True)
        if not 0 < len(values) <= MAX_CLASSES:
            raise DataError(
                f"{self.archive}: {key} holds {len(values):,} different labels; 1 to {MAX_CLASSES:,} are read"
            )
        names = tuple(_text(value) for value in values)
        check_class_names(names, f"{self.archive}: {key}")
        return labels.astype(np.int64), names

    def _images(
        self,
        key: str,
        labels: npt.NDArray[np.int64] | None,
        available: Sequence[str],
        names: tuple[str, ...],
        notes: list[str],
    ) -> SourceImages:
        read, notes = read_array(self.archive, key, "u"), [f"{self.archive}: {note}" for note in notes]
        if labels is None and read.ndim == 3 and read.shape[2] in (3, 4):
            raise DataError(
                f"{self.archive}: {key} has the shape {read.shape}, which is one colour image; images are "
                f"[N, H, W, C], as of numpy.stack, and gray ones of {read.shape[1]}x{read.shape[2]} are [N, H, W, 1]"
            )
        array = _with_channels_last(self.archive, key, read)
        if labels is None:
            labels = np.zeros(len(array), np.int64)
            notes.append(f"{self.archive} holds no labels: all images are one class")
        if len(labels) != len(array):
            raise DataError(f"{self.archive} holds {len(array):,} images in {key} and {len(labels):,} labels")
        keys, chosen = select_rows(labels, available, names, f"{self.archive} holds no image")
        return fitted_array(self, array, keys, chosen, notes)


def read_array(path: Path, key: str, kinds: str) -> npt.NDArray[Any]:
    """An array of an archive. kinds: of numbers that are allowed, as in `numpy.dtype.kind`.

    Its header is compared with the size of the member, and with the memory there is, before any is taken. Raises
    DataError.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            member = archive.getinfo(f"{key}.npy")
            with archive.open(member) as content:
                version = npy.read_magic(content)
                read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                shape, fortran, dtype = read_header(content)
                if dtype.kind not in kinds or (kinds == "u" and dtype != np.uint8):
                    raise DataError(f"{path}: {key} holds {dtype.name}; {_allowed(kinds)}")
                size = math.prod(shape) * dtype.itemsize
                if size != member.file_size - content.tell() or any(length < 0 for length in shape):
                    raise ValueError(f"{key} has {member.file_size:,} bytes, and its head says {shape}")
                if size > psutil.virtual_memory().available:
                    raise DataError(f"{path}: {key} needs {size:,} bytes of memory, which are not free")
                data = content.read(size)
                if len(data) != size:
                    raise ValueError(f"{key} is cut short")
                return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # a damaged archive or head can raise nearly anything
        raise DataError(f"{path} is not an .npz file, or is damaged: {printable(str(error))}") from None


def _members(path: Path) -> dict[str, zipfile.ZipInfo]:
    """The arrays of an archive by name. Raises DataError."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            found = {each.filename.removesuffix(".npy"): each for each in archive.infolist()}
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # a damaged archive or head can raise nearly anything
        raise DataError(f"{path} is not an .npz file, or is damaged: {printable(str(error))}") from None
    return {name: each for name, each in found.items() if each.filename.endswith(".npy")}


def _found(
    path: Path,
    members: dict[str, zipfile.ZipInfo],
    usual: tuple[Sequence[str], Sequence[str]],
    split: str,
    named: str | None,
) -> str | None:
    """The array that goes with a named one, or the first with a usual name; None if there is none.

    usual: names of such as the named one, and of such as is sought, in pairs. Raises DataError if several are alike.
    """
    ours, sought = usual
    if named is None:
        return next((name for each in sought if (name := each.format(split=split)) in members), None)
    pairs = {each.format(split=part): other.format(split=part) for part in SPLITS
             for each, other in zip(ours, sought, strict=True)}  # fmt: skip
    partner = pairs.get(named)
    if partner in members:
        return partner
    there = [name for name in dict.fromkeys(pairs.values()) if name in members]
    if len(there) < 2 and (partner is None or not any(part in name for part in SPLITS for name in there)):
        return next(iter(there), None)
    option = "--labels-key" if sought is LABELS else "--images-key"
    raise DataError(f"{path} holds {join_names(there, ', ')}, and none has the name that goes with {named}; name one "
                    f"with {option}")  # fmt: skip


def _note(key: str, split: str) -> list[str]:
    """What to say of an array of images that belongs to no split."""
    parts = [each.format(split=split) for each in IMAGES if "{split}" in each]
    return [f"{key} is of no split: all of it is read as {split}"] if split != "train" and key not in parts else []


def _with_channels_last(path: Path, key: str, array: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """uint8 [N, H, W, 1, 3 or 4] of images with channels last, first, or none. Raises DataError for another shape."""
    if array.ndim == 3:
        array = array[..., None]
    elif array.ndim == 4 and array.shape[3] not in (1, 3, 4) and array.shape[1] in (1, 3, 4):
        array = array.transpose(0, 2, 3, 1)
    if array.ndim != 4 or array.shape[3] not in (1, 3, 4) or min(array.shape) == 0 or max(array.shape[1:]) > MAX_SIZE:
        raise DataError(f"{path}: {key} has the shape {array.shape}; images are [N, H, W] or [N, H, W, 1, 3 or 4]")
    return array


def _allowed(kinds: str) -> str:
    return "images are uint8, from 0 to 255" if kinds == "u" else "labels are integers or names"


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else f"{value}"
