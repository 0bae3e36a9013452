"""An open shard in, its samples out, as WebDataset groups them: one image each, or a block of them.

All names are passed on as they may be shown. What is damaged as a whole raises one of `tar.DAMAGE`, or DataError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from distgan.data.bad_samples import BadSample
from distgan.data.shards import blocks
from distgan.data.shards.blocks import Block
from distgan.data.shards.manifest import Layout
from distgan.data.shards.png import Encoded
from distgan.data.shards.tar import DAMAGE, members
from distgan.utils.safe_io import printable

SMALL = 1 << 20  # bytes of a member, besides its pixels
META = "__"  # begins the names that WebDataset keeps for itself

Piece = Sequence[Encoded | BadSample] | Block  # images that follow each other in a shard


def pieces(file: BinaryIO, shard: str, layout: Layout, size: int, wanted: Mapping[int, int]) -> Iterator[Piece]:
    """The wanted images, as many as a sample holds at a time, not yet decoded where they are encoded.

    shard: its name; wanted: class number -> place among the wanted ones.
    """
    most = SMALL + (8 * size**2 if layout == "pictures" else blocks.rows(size) * 3 * size**2)  # PNG: 16 bits, alpha
    for sample in samples(file, shard, most):
        name = f"{shard}/{printable(sample['__key__'])}"
        piece = _image(sample, name, wanted) if layout == "pictures" else blocks.decode(sample, name, size, wanted)
        if piece:
            yield piece


def samples(file: BinaryIO, shard: str, most: int) -> Iterator[dict[str, Any]]:
    """Members with the same name before its first dot, by what follows it. most: bytes of a member."""
    from webdataset.tariterators import group_by_keys

    def each() -> Iterator[dict[str, Any]]:
        try:
            for name, content in members(file, most):
                if not name.startswith(META):
                    yield {"fname": name, "data": content, "__url__": shard}
        except DAMAGE:
            yield {}  # hands out the sample before it
            raise

    yield from group_by_keys(each())


def _image(sample: Mapping[str, Any], name: str, wanted: Mapping[int, int]) -> Piece:
    if "png" not in sample or "cls" not in sample:
        return [BadSample(name, f"image {name} has no {'.cls' if 'png' in sample else '.png'} member")]
    try:
        label = int(sample["cls"])
    except ValueError:
        return [BadSample(name, f"{name}.cls holds {sample['cls'][:20]!r}, which is not a class number")]
    return [Encoded(name, sample["png"], wanted[label])] if label in wanted else []
