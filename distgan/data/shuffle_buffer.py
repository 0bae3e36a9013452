"""The shuffle buffer of stream mode: slots in which images wait, filled and emptied one batch at a time.

A batch is a list of slots, so its order is chosen without the images and is the same for each layout. PNGs wait
encoded; images of blocks are copied into one array.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from distgan.data.bad_samples import BadSample
from distgan.data.shards.blocks import Block
from distgan.data.shards.decode import EncodedImage, ImageForm, try_decode
from distgan.data.shards.manifest import AnyLayout
from distgan.data.shards.samples import Piece
from distgan.utils.counter_rng import IntArray
from distgan.utils.errors import DataError


@dataclass(frozen=True)
class DecodedBatch:
    """A batch in which the rows of bad images have no content yet."""

    images: np.ndarray
    """uint8 [b, channels, size, size]."""
    labels: IntArray
    """[b]."""
    bad: dict[int, BadSample]
    """The bad images by row."""


class Chunker:
    """Cuts pieces into chunks of a requested number of images."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self.pieces = iter(pieces)
        self.rest: Piece = ()

    def chunks(self, count: int) -> Iterator[Piece]:
        """Yields the next `count` images in one or more chunks; fewer at the end of the pieces."""
        while count:
            if not len(self.rest):
                following = next(self.pieces, None)
                if following is None:
                    return
                self.rest = following
            chunk, self.rest = self.rest[:count], self.rest[count:]
            count -= len(chunk)
            yield chunk


def slot_count(batches: int, batch: int, buffer_size: int) -> int:
    """Returns the number of slots: `buffer_size` or fewer, in whole batches; at least one batch, at most `batches`."""
    return min(max(buffer_size // batch, 1), batches) * batch


def batch_slots(batches: int, batch: int, slots: int, random: np.random.Generator) -> Iterator[IntArray]:
    """Yields the slots [batch] of each batch of an epoch.

    At the start slot i holds image i. The next images go to the slots of a batch, in its order, as soon as it was
    shown, as long as there are images.
    """
    for _ in range(batches - slots // batch):
        yield random.choice(slots, batch, replace=False)
    yield from random.permutation(slots).reshape(-1, batch)


def shape_of(count: int, form: ImageForm) -> tuple[int, int, int, int]:
    """Shape of an array of `count` images: [count, channels, size, size]."""
    return count, form.channels, form.size, form.size


class EncodedBuffer:
    """Slots for the layout `pictures`: PNGs, decoded when they are taken."""

    def __init__(self, slots: int, form: ImageForm) -> None:
        self.items: list[EncodedImage | BadSample] = [BadSample("", "")] * slots
        self.form = form

    def put(self, slots: IntArray, chunk: Piece) -> None:
        """Fills slots. slots: [n]; chunk: n images."""
        assert not isinstance(chunk, Block)
        for slot, item in zip(slots.tolist(), chunk, strict=True):
            self.items[slot] = item

    def get(self, slots: IntArray) -> DecodedBatch:
        """Returns the images in slots [b]."""
        images = np.empty(shape_of(len(slots), self.form), dtype=np.uint8)
        labels = np.zeros(len(slots), dtype=np.int64)
        bad = dict[int, BadSample]()
        for row, slot in enumerate(slots.tolist()):
            image = try_decode(self.items[slot], self.form)
            if isinstance(image, BadSample):
                bad[row] = image
            else:
                images[row], labels[row] = image.pixels.transpose(2, 0, 1), image.label
        return DecodedBatch(images, labels, bad)


class BlockBuffer:
    """Slots for the layout `blocks`: raw images."""

    def __init__(self, slots: int, form: ImageForm) -> None:
        self.images = np.empty(shape_of(slots, form), dtype=np.uint8)
        self.labels = np.zeros(slots, dtype=np.int64)
        self.bad = dict[int, BadSample]()

    def put(self, slots: IntArray, chunk: Piece) -> None:
        """Fills slots. slots: [n]; chunk: n images."""
        if isinstance(chunk, Block):
            self.images[slots], self.labels[slots] = chunk.images, chunk.labels
            if self.bad:
                for slot in slots.tolist():
                    self.bad.pop(slot, None)
        else:
            self.bad.update(zip(slots.tolist(), chunk, strict=True))  # type: ignore[arg-type]

    def get(self, slots: IntArray) -> DecodedBatch:
        """Returns the images in slots [b]."""
        bad = {row: self.bad[slot] for row, slot in enumerate(slots.tolist()) if slot in self.bad} if self.bad else {}
        return DecodedBatch(self.images.take(slots, axis=0), self.labels.take(slots), bad)


ShuffleBuffer = EncodedBuffer | BlockBuffer


def build_buffer(layout: AnyLayout, slots: int, form: ImageForm) -> ShuffleBuffer:
    """Returns an empty buffer for images of a form. Raises DataError if it exceeds the memory."""
    try:
        return BlockBuffer(slots, form) if layout == "blocks" else EncodedBuffer(slots, form)
    except (MemoryError, ValueError):
        need, size = slots * form.channels * form.size**2 / 2**30, form.size
        raise DataError(
            f"{slots:,} raw images of {size}x{size} need {need:,.1f} GiB: more than there is; lower data.shuffle_buffer"
        ) from None
