"""An open shard in, its samples out, grouped as WebDataset does: one image each, or a block of them.

All names are passed on in printable form. Damage to a shard as such raises one of `tar.READ_ERRORS`, or DataError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from distgan.data.bad_samples import BadSample
from distgan.data.shards.blocks import Block, decode_block, max_block_images
from distgan.data.shards.decode import EncodedImage, ImageFile, ImageFormat
from distgan.data.shards.foreign import ForeignSamples
from distgan.data.shards.selection import ShardSelection
from distgan.data.shards.tar import READ_ERRORS, members
from distgan.utils.safe_io import printable

MAX_EXTRA_BYTES = 1 << 20  # of a member, besides its pixels
PIXEL_BYTES = 8  # of a PNG with 16 bits and alpha
FORMATS: dict[str, ImageFormat] = {"png": "png", "jpg": "jpg", "webp": "webp"}
RESERVED_PREFIX = "__"  # of names that WebDataset keeps for itself

Piece = Sequence[EncodedImage | BadSample] | Block
"""Images that follow each other in a shard."""


def parse_pieces(file: BinaryIO, shard: str, selection: ShardSelection) -> Iterator[Piece]:
    """Yields the selected images of a shard, one sample at a time; files of images are not decoded.

    shard: its name. Raises READ_ERRORS and DataError.
    """
    if selection.layout == "webdataset":
        yield from _foreign_pieces(file, shard, selection)
        return
    layout, form, label_map = selection.layout, selection.form, selection.label_map
    images = PIXEL_BYTES * form.size**2 if layout == "pictures" else selection.image_bytes * max_block_images(form)
    for sample in samples(file, shard, MAX_EXTRA_BYTES + images):
        name = f"{shard}/{printable(sample['__key__'])}"
        piece = _image(sample, name, label_map) if layout == "pictures" else decode_block(sample, name, form, label_map)
        if piece:
            yield piece


def _foreign_pieces(file: BinaryIO, shard: str, selection: ShardSelection) -> Iterator[Piece]:
    for sample in ForeignSamples(selection.label).read(file, shard):
        name = f"{shard}/{sample.key}"
        label = selection.numbers.get(sample.label)
        if label is None:
            yield [BadSample(name, f"image {name} has the class {printable(sample.label)}, which its manifest lacks")]
        elif label in selection.label_map:
            yield [EncodedImage(name, sample.file, selection.label_map[label])]


def samples(file: BinaryIO, shard: str, max_bytes: int) -> Iterator[dict[str, Any]]:
    """Yields the samples of a shard: members with the same name before the first dot, by the rest of their names.

    max_bytes: of a member. Raises READ_ERRORS.
    """
    from webdataset.tariterators import group_by_keys

    def files() -> Iterator[dict[str, Any]]:
        try:
            for name, content in members(file, max_bytes):
                if not name.startswith(RESERVED_PREFIX):
                    yield {"fname": name, "data": content, "__url__": shard}
        except READ_ERRORS:
            yield {}  # makes group_by_keys yield the sample before the damage
            raise

    yield from group_by_keys(files())


def _image(sample: Mapping[str, Any], name: str, label_map: Mapping[int, int]) -> Piece:
    extension = next((each for each in FORMATS if each in sample), "png")
    if extension not in sample or "cls" not in sample:
        return [BadSample(name, f"image {name} has no {'.cls' if extension in sample else '.png'} member")]
    try:
        label = int(sample["cls"])
    except ValueError:
        return [BadSample(name, f"{name}.cls holds {sample['cls'][:20]!r}, which is not a class number")]
    file = ImageFile(sample[extension], FORMATS[extension])
    return [EncodedImage(name, file, label_map[label])] if label in label_map else []
