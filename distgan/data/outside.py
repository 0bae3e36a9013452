"""The images of a source that does not come with distgan: each is compared with the source's offer as it is read."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from distgan.data.shards.decode import MODES, PILLOW_NAMES, EncodedImage, ImageFile, ImageForm, decode
from distgan.data.shards.manifest import Layout
from distgan.data.sources.base import Offer, Source, SourceImages
from distgan.utils.counter_rng import IntArray
from distgan.utils.errors import DataError


def is_outside(source: Source) -> bool:
    """Whether a source does not come with distgan."""
    return type(source).__module__.partition(".")[0] != "distgan"


def checked_offer(offer: Offer, layout: Layout) -> Offer:
    """The offer, whose images raise DataError where they are not as it says."""

    def load(progress: bool) -> SourceImages:
        images = offer.load(progress)

        def read(rows: IntArray) -> Sequence[Any]:
            found = images.read(rows)
            if len(found) != len(rows):
                raise DataError(f"{offer.source}: read() gives {len(found):,} images for {len(rows):,} rows")
            for row, image in zip(rows, found, strict=True):
                if image is not None:
                    _check(image, offer, layout, f"{int(images.keys[row])} of {offer.source}")
            return found

        return replace(images, read=read)

    return replace(offer, load=load)


def _check(image: Any, offer: Offer, layout: Layout, name: str) -> None:
    """Raises DataError unless an image is pixels of the offer's form, or a file of it that can be decoded."""
    form = [offer.size, offer.size, offer.channels]
    if isinstance(image, ImageFile):
        _check_file(image, offer, layout, name)
    elif not isinstance(image, np.ndarray) or image.dtype != np.uint8 or list(image.shape) != form:
        shown = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise DataError(f"image {name} is {shown}; its offer says uint8 {form}")


def _check_file(image: ImageFile, offer: Offer, layout: Layout, name: str) -> None:
    if layout == "blocks":
        raise DataError(f"image {name} is a file, and blocks hold raw pixels; take --layout pictures")
    if image.format not in PILLOW_NAMES:
        raise DataError(f"image {name} is a file of format {image.format!r}; {', '.join(PILLOW_NAMES)} are kept")
    try:
        with Image.open(io.BytesIO(image.data), formats=(PILLOW_NAMES[image.format],)) as opened:
            form = opened.size, opened.mode
    except Exception as error:  # a damaged image can raise nearly anything
        raise DataError(f"image {name} is no {image.format} file: {type(error).__name__}") from None
    if form != ((offer.size, offer.size), MODES[offer.channels]):
        (width, height), mode = form
        size = f"{offer.size}x{offer.size} in {MODES[offer.channels]}"
        raise DataError(f"image {name} is a file of {width}x{height} in {mode}; its offer says {size}")
    decode(EncodedImage(name, image, 0), ImageForm(offer.size, offer.channels))
