"""What the sources of images of any shape share: their options, and the reading of encoded images in threads."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from pydantic import PositiveFloat

from distgan.data.fit import Channels, Fit, Size, Square
from distgan.data.shards.decode import ImageFile
from distgan.data.shards.png import Pixels
from distgan.data.sources.base import Offer, SourceImages
from distgan.data.sources.image_file import SKIP_HINT, ImageReader
from distgan.utils.counter_rng import IntArray
from distgan.utils.errors import DataError
from distgan.utils.log import log

MAX_REASONS = 8


@dataclass(frozen=True, kw_only=True)
class Shaped:
    """Options of every source whose images may have any shape."""

    size: Size = 32
    """Height and width of the images that are made, pixels."""
    fit: Square = "crop"
    """How they become square."""
    channels: Channels = "rgb"
    """rgb: three channels; gray: one."""

    def as_fit(self) -> Fit:
        """The shape of the images that are made."""
        return Fit(self.size, self.fit, self.channels)

    def request(self) -> dict[str, Any]:
        """What of these options determines the images: the size, and what differs from how it always was."""
        before = Fit()
        ours = {
            name: getattr(self, name) for name in ("fit", "channels") if getattr(self, name) != getattr(before, name)
        }
        return {"size": self.size, **ours}

    def make_offer(
        self, source: str, classes: tuple[str, ...], request: dict[str, Any], load: Callable[[bool], SourceImages]
    ) -> Offer:
        """An offer of images that are made as the options say. request: what else determines them."""
        return Offer(source, self.size, classes, {**request, **self.request()}, load, self.as_fit().channel_count)


@dataclass(frozen=True, kw_only=True)
class Fitted(Shaped):
    """Options of every source of encoded images."""

    skip_bad: bool = False
    """Leave out files that are not images, and list them."""
    white: PositiveFloat | None = None
    """The value that becomes white in images of more than 8 bits; None: 65,535."""
    keep_format: bool = False
    """Keep JPEG, PNG and WebP files that have the size and the channels as they are."""

    def request(self) -> dict[str, Any]:
        """See `Shaped`."""
        white = {} if self.white is None else {"white": self.white}
        kept = {"keep_format": True} if self.keep_format else {}
        return {**super().request(), "skip_bad": self.skip_bad, **white, **kept}

    def reader(self) -> ImageReader:
        """A reader of image files for these options."""
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `ImageReader` makes it an error
        return ImageReader(self.as_fit(), self.white, self.keep_format)


class EncodedImages:
    """Encoded images by row, and the reasons why some of them cannot be read."""

    def __init__(self, options: Fitted, load: Callable[[ImageReader, int], Pixels | ImageFile]) -> None:
        """load: reads the image of a row, in any thread. Raises DataError for one that cannot be read."""
        self.skip_bad, self.load, self.reader = options.skip_bad, load, options.reader()
        self.failures: list[str] = []
        self._lock = threading.Lock()

    def images(self, labels: IntArray, notes: Sequence[str] = ()) -> SourceImages:
        """All of them as a source gives them. labels: [N]; notes: sentences for the user."""
        return SourceImages(
            np.arange(len(labels)), labels, self.read, list(notes), finish=self.finish, sizes=self.reader.sizes
        )

    def read(self, rows: IntArray) -> list[Pixels | ImageFile | None]:
        """The images of some rows; None for those that cannot be read."""
        return [self._load(int(row)) for row in rows]

    def finish(self) -> list[str]:
        """Notes after all images were read. Raises DataError with all failures, if images may not be left out."""
        failures = sorted(self.failures)
        if failures and not self.skip_bad:
            raise DataError(failures[0] if len(failures) == 1 else _all_failures(failures))
        skipped = [f"skipped: {failure.removesuffix(f'; {SKIP_HINT}')}" for failure in failures]
        return [*self.reader.notes(), *skipped]

    def _load(self, row: int) -> Pixels | ImageFile | None:
        try:
            return self.load(self.reader, row)
        except DataError as error:
            with self._lock:
                if not self.failures and not self.skip_bad:
                    log.warning("%s; the other files are still read, to name all at once", error)
                self.failures.append(str(error))
            return None


def hint(items: Sequence[object]) -> str:
    """What to do about some files that cannot be used."""
    return SKIP_HINT if len(items) == 1 else "remove or repair them, or pass --skip-bad to leave such files out"


def _all_failures(failures: list[str]) -> str:
    reasons = [failure.removesuffix(f"; {SKIP_HINT}") for failure in failures]
    more = f", and {len(reasons) - MAX_REASONS:,} more" if len(reasons) > MAX_REASONS else ""
    return f"{len(reasons):,} files cannot be used: {', '.join(reasons[:MAX_REASONS])}{more}; {hint(reasons)}"
