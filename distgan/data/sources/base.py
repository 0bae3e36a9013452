"""The protocol of image sources: `Source` -> `Offer` -> `SourceImages`.

`prepare` asks a source for an offer, compares the offer with the data set that is there, and loads the images only if
they have to be written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from distgan.data.shards.decode import ImageFile
from distgan.data.shards.png import Pixels
from distgan.utils.counter_rng import IntArray
from distgan.utils.errors import DataError
from distgan.utils.names import known_names

MAX_NAME = 255  # characters of a class


@dataclass(frozen=True)
class SourceImages:
    """N images, read by row."""

    keys: IntArray
    """[N], unique and >= 0: the image's index in its source, and KEY in the shards."""
    labels: IntArray
    """[N], index in the offer's classes."""
    read: Callable[[IntArray], Sequence[Pixels | ImageFile | None]]
    """Returns the images of some rows (0 ... N - 1), each uint8 [size, size, channels], or a file of that form that is
    kept as it is (not for blocks); None for an image that is left out.

    Called from several threads at once, for rows in any order. Raises DataError, which ends the work.
    """
    notes: list[str] = field(default_factory=list)
    """Sentences for the user, printed after all images are written."""
    finish: Callable[[], list[str]] = list
    """Called when all images are written: more sentences. Raises DataError, and nothing is published."""
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    """How many images had which width and height before they were fitted; filled while images are read."""


@dataclass(frozen=True)
class Offer:
    """The description of the images that a source will deliver."""

    source: str
    """Name of the source, for the manifest."""
    size: int
    """Height and width of every image, pixels."""
    classes: tuple[str, ...]
    """Names of the classes; a label is an index into them."""
    request: dict[str, Any]
    """JSON values that determine the images, besides split and classes: settings, versions, checksums.

    They are kept in the manifest: a second run does nothing if they are the same. None matches any value.
    """
    load: Callable[[bool], SourceImages]
    """Opens the source; the argument says whether to show progress. Raises DataError."""
    channels: Literal[1, 3] = 3
    """1: gray, 3: RGB."""
    newest: tuple[float, str] | None = None
    """When the file was written that was written last, seconds since 1970, and its name, where another content of the
    same size does not change the request; None: it does."""


class Source(Protocol):
    """A kind of image source and its settings.

    To add one, write a frozen dataclass with the settings as fields and this method:

        @dataclass(frozen=True)
        class Noise:
            count: int = 1000

            def offer(self, split, classes):
                names = select_classes(("dark", "light"), classes)
                return Offer("noise", 32, names, {"count": self.count}, lambda progress: self.images(names))

    Then `prepare(Request(out, Noise()))` makes the data set. One that keeps files has an attribute `keeps`, a tuple of
    the directories in which it does, for `--dry-run`.
    """

    def offer(self, split: str, classes: tuple[str, ...] | None) -> Offer:
        """Describes the images of a split ("train", "val" or "test") and of some classes (None: all).

        Called on every run, also if the data set exists: it may list files, but must not download or decode. Raises
        DataError for an unknown class, or if the source cannot be used.
        """
        ...


def select_classes(available: Sequence[str], requested: Sequence[str] | None) -> tuple[str, ...]:
    """Returns the requested classes in the order of `available`; None requests all. Raises DataError for others."""
    if requested is None:
        return tuple(available)
    for name in requested:
        if name not in available:
            raise DataError(f"class '{name}' is not in this data set; {known_names(name, available)}")
    if not requested:
        raise DataError(f"--classes names no class; leave it out for all, or name some; {known_names('', available)}")
    return tuple(name for name in available if name in requested)


def check_class_names(names: Iterable[str], where: str) -> None:
    """Raises DataError unless each has 1 to MAX_NAME printable characters. where: what holds them."""
    for name in names:
        if not name.isprintable() or not 0 < len(name) <= MAX_NAME:
            rule = f"classes have names of 1 to {MAX_NAME} printable characters"
            raise DataError(f"{where} holds {name[:40]!r}, which is no name of a class; {rule}")
