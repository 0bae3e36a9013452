"""Real images that the caller already has: in memory, or in batches from a reader of their own.

In: arrays, or an iterator. Out: the same batches on the device as an `ImageDataset` gives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from distgan.config.schema import DataConfig
from distgan.data.dataset import Batch, deliver
from distgan.data.resident import Resident
from distgan.data.sources.base import check_class_names
from distgan.utils.errors import DataError
from distgan.utils.rng import Draws, Rows
from distgan.utils.safe_io import printable

UNKNOWN = "0" * 64  # digest of images that are not known before they are read


class RealImages(Protocol):
    """What a trainer needs of its real images: those of shards (`ImageDataset`) or of the caller."""

    @property
    def size(self) -> int:
        """Height and width of the images, pixels."""
        ...

    @property
    def channels(self) -> int:
        """1: gray, 3: RGB."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        ...

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Images of each class; ones where that is not known."""
        ...

    @property
    def manifest_digest(self) -> str:
        """64 hexadecimal digits that stand for the images."""
        ...

    def batches(self, start: int) -> Generator[Batch, None, None]:
        """Yields batches without end, from batch `start` on."""
        ...


class Reading(NamedTuple):
    """How a rank reads: the order and the mirroring of the images, its rows of the global batch, and its device."""

    config: DataConfig
    seed: int
    rows: Rows
    device: torch.device

    @property
    def draws(self) -> Draws:
        return Draws(self.seed, self.rows, self.device)


@dataclass(frozen=True)
class ImageArrays:
    """All images in memory, checked."""

    images: Tensor
    """uint8 [N, channels, size, size]."""
    labels: Tensor
    """int64 [N]."""
    classes: tuple[str, ...]
    reading: Reading
    manifest_digest: str = field(init=False)
    """sha256 of the pixels, the labels and the names."""

    def __post_init__(self) -> None:
        digest = hashlib.sha256("\n".join(self.classes).encode())
        for tensor in (self.images, self.labels):
            digest.update(tensor.cpu().contiguous().numpy().data)
        object.__setattr__(self, "manifest_digest", digest.hexdigest())

    @property
    def size(self) -> int:
        return self.images.shape[-1]

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    @property
    def class_counts(self) -> tuple[int, ...]:
        return tuple(self.labels.bincount(minlength=len(self.classes)).tolist())

    def batches(self, start: int) -> Generator[Batch, None, None]:
        """Yields batches without end, in the order in which an `ImageDataset` of these images would."""
        pairs = self._resident.batches(start, lambda _: False)
        yield from deliver(pairs, start, self.reading.draws, self.reading.config.flip)

    @cached_property
    def _resident(self) -> Resident:
        """The images where data.resident_on puts them: copied to a device once, not for every reader."""
        config, seed, rows, device = self.reading
        images, labels = self.images, self.labels
        if config.resident_on == "device":
            images, labels = images.to(device), labels.to(device)
        return Resident(images, labels, rows, seed, config.shuffle)


class ImageBatches:
    """Batches of an iterator, each this rank's rows of a global batch: (images, labels)."""

    def __init__(self, batches: Iterable[Any], classes: Sequence[str] | None, reading: Reading) -> None:
        """classes: their names, by label; None: there is one class. Reads the first batch. Raises DataError."""
        self.classes, self.reading, self.manifest_digest = to_names(classes or ("0",)), reading, UNKNOWN
        iterator = iter(batches)
        try:
            first = self._checked(next(iterator))
        except StopIteration:
            raise DataError("images is an iterator that gives no batch") from None
        self.size, self.channels = first[0].shape[-1], first[0].shape[1]
        self.class_counts = (1,) * len(self.classes)
        self._pairs = chain([first], map(self._checked, iterator))

    def batches(self, start: int) -> Generator[Batch, None, None]:
        """Yields the next batches of the iterator, wherever it is. Raises DataError where it ends."""
        yield from deliver(self._pairs, start, self.reading.draws, self.reading.config.flip)
        raise DataError("images is an iterator that has ended; give one without end, such as itertools.cycle(batches)")

    def _checked(self, batch: Any) -> tuple[Tensor, Tensor]:
        images, labels = batch if isinstance(batch, (tuple, list)) and len(batch) == 2 else (batch, None)
        pixels = to_images(images)
        if len(pixels) != (rows := len(self.reading.rows)):
            raise DataError(
                f"a batch of images has {len(pixels)} images, this process needs {rows}: train.batch_size / processes"
            )
        return pixels, to_labels(labels, len(pixels), len(self.classes))


def open_images(images: Any, labels: Any, classes: Sequence[str] | None, reading: Reading) -> RealImages:
    """Images of the caller, as `Trainer.from_config` takes them. Raises DataError."""
    if hasattr(images, "shape"):
        pixels = to_images(images)
        count = None if classes is None else len(classes)
        numbers = to_labels(labels, len(pixels), count)
        names = tuple(map(str, range(int(numbers.max()) + 1))) if classes is None else to_names(classes)
        return ImageArrays(pixels, numbers, names, reading)
    if isinstance(images, Iterable) and not isinstance(images, (str, bytes)) and labels is None:
        return ImageBatches(images, classes, reading)
    raise DataError(
        f"images={type(images).__name__} must be a uint8 tensor or array [N, 3, H, H] (gray: [N, 1, H, H]), or an "
        "iterator of batches "
        "(images, labels); a data set in a directory is named by data.path"
    )


def to_images(images: Any) -> Tensor:
    """uint8 [N, 3, H, H] of such a tensor or array, or of [N, H, H, 3]; [N, 1, H, H] of gray ones. Raises DataError.

    Gray are [N, 1, H, H], [N, H, H, 1] and [N, H, H].
    """
    shape = list(getattr(images, "shape", ()))
    pixels = _as_tensor(images, "images") if shape else torch.empty(0)
    if pixels.dtype != torch.uint8 or pixels.ndim not in (3, 4) or not len(pixels):
        raise DataError(
            f"images are {pixels.dtype} {shape}; they must be uint8 (0 to 255) of shape [N, 3, H, H], or gray [N, H, H]"
        )
    if pixels.ndim == 3 and len(pixels) == 3:
        raise DataError(
            f"images are {pixels.dtype} {shape}: one RGB image, or three gray ones; give [1, 3, H, H], or [3, 1, H, H]"
        )
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    if pixels.shape[1] not in (1, 3) and pixels.shape[3] in (1, 3):
        pixels = pixels.permute(0, 3, 1, 2).contiguous()
    if pixels.shape[1] not in (1, 3) or pixels.shape[2] != pixels.shape[3]:
        raise DataError(
            f"images have the shape {shape}; it must be [N, 3, H, H] or [N, H, H, 3], RGB and square, or gray: "
            "[N, 1, H, H], [N, H, H, 1] or [N, H, H]"
        )
    return pixels


def to_labels(labels: Any, count: int, classes: int | None) -> Tensor:
    """int64 [count], zeros for None. classes: how many there are; None: as many as labels say. Raises DataError."""
    numbers = torch.zeros(count, dtype=torch.int64) if labels is None else _as_tensor(labels, "labels")
    if numbers.is_floating_point() or list(numbers.shape) != [count]:
        raise DataError(f"labels are {numbers.dtype} {list(numbers.shape)}; they must be whole numbers, [{count}]")
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0 or (classes is not None and high >= classes):
        raise DataError(f"labels are {low} to {high}; they must be 0 to {'N' if classes is None else classes - 1}")
    return numbers.long()


def to_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names of classes. Raises DataError for one that no command could be given, or that stands there twice."""
    check_class_names(names, "class_names")
    if twice := [name for name in names if list(names).count(name) > 1]:
        raise DataError(f"class_names has {printable(twice[0])} twice; each class needs a name of its own")
    return tuple(names)


def _as_tensor(values: Any, what: str) -> Tensor:
    """A tensor of whatever numbers torch or NumPy can hold, a copy of what torch cannot share. Raises DataError."""
    if isinstance(values, Tensor):
        return values
    array = np.asarray(values)
    if array.dtype.kind not in "iufb":
        raise DataError(f"{what} are of the type {array.dtype}; they must be whole numbers")
    if array.dtype != np.uint8:
        array = array.astype(np.float64 if array.dtype.kind == "f" else np.int64)
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))
