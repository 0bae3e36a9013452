"""Where stream mode keeps the images that wait: slots that are filled and emptied a batch at a time.

A batch is a list of slots, so its order can be chosen with no image at hand, and is the same for any layout. Encoded
images wait encoded; blocks are copied into one array.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from distgan.data.bad_samples import BadSample
from distgan.data.shards.blocks import Block
from distgan.data.shards.manifest import Layout
from distgan.data.shards.png import Encoded, decoded
from distgan.data.shards.samples import Piece
from distgan.utils.counter_rng import IntArray
from distgan.utils.errors import DataError


@dataclass(frozen=True)
class DecodedBatch:
    """A batch, in which nothing stands yet in the places of bad images."""

    images: np.ndarray
    """uint8 [b, 3, size, size]."""
    labels: IntArray
    """[b]."""
    bad: dict[int, BadSample]
    """By place in the batch."""


class Chunker:
    """Pieces, cut to the numbers of images that are asked for."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self.pieces = iter(pieces)
        self.rest: Piece = ()

    def take(self, count: int) -> Iterator[Piece]:
        """The next `count` images, or as many as there are."""
        while count:
            if not len(self.rest):
                following = next(self.pieces, None)
                if following is None:
                    return
                self.rest = following
            part, self.rest = self.rest[:count], self.rest[count:]
            count -= len(part)
            yield part


def slots(batches: int, batch: int, buffer: int) -> int:
    """How many slots there are: `buffer` or fewer, in whole batches; one batch at least, `batches` at most."""
    return min(max(buffer // batch, 1), batches) * batch


def order(batches: int, batch: int, held: int, random: np.random.Generator) -> Iterator[IntArray]:
    """The slots [batch] of each of an epoch's batches. At first all slots are filled, in turn; those of a batch are
    filled again in its order, as long as there are images."""
    for _ in range(batches - held // batch):
        yield random.choice(held, batch, replace=False)
    yield from random.permutation(held).reshape(-1, batch)


class EncodedPool:
    """For an image a sample."""

    def __init__(self, slots: int, size: int) -> None:
        self.items: list[Encoded | BadSample] = [BadSample("", "")] * slots
        self.size = size

    def put(self, slots: IntArray, part: Piece) -> None:
        assert not isinstance(part, Block)
        for slot, item in zip(slots.tolist(), part, strict=True):
            self.items[slot] = item

    def take(self, slots: IntArray) -> DecodedBatch:
        images = np.empty((len(slots), 3, self.size, self.size), dtype=np.uint8)
        labels = np.zeros(len(slots), dtype=np.int64)
        bad = dict[int, BadSample]()
        for place, slot in enumerate(slots.tolist()):
            image = decoded(self.items[slot], self.size)
            if isinstance(image, BadSample):
                bad[place] = image
            else:
                images[place], labels[place] = image.pixels.transpose(2, 0, 1), image.label
        return DecodedBatch(images, labels, bad)


class BlockPool:
    """For blocks."""

    def __init__(self, slots: int, size: int) -> None:
        self.images = np.empty((slots, 3, size, size), dtype=np.uint8)
        self.labels = np.zeros(slots, dtype=np.int64)
        self.bad = dict[int, BadSample]()

    def put(self, slots: IntArray, part: Piece) -> None:
        if isinstance(part, Block):
            self.images[slots], self.labels[slots] = part.images, part.labels
            if self.bad:
                for slot in slots.tolist():
                    self.bad.pop(slot, None)
        else:
            self.bad.update(zip(slots.tolist(), part, strict=True))  # type: ignore[arg-type]

    def take(self, slots: IntArray) -> DecodedBatch:
        bad = (
            {place: self.bad[slot] for place, slot in enumerate(slots.tolist()) if slot in self.bad} if self.bad else {}
        )
        return DecodedBatch(self.images.take(slots, axis=0), self.labels.take(slots), bad)


Pool = EncodedPool | BlockPool


def pool(layout: Layout, slots: int, size: int) -> Pool:
    """Empty. Raises DataError where it is larger than the memory."""
    try:
        return EncodedPool(slots, size) if layout == "pictures" else BlockPool(slots, size)
    except (MemoryError, ValueError):
        need = slots * 3 * size**2 / 2**30
        raise DataError(
            f"{slots:,} raw images of {size}x{size} need {need:,.1f} GiB: more than there is; lower data.shuffle_buffer"
        ) from None
