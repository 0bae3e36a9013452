"""Small data sets and damage, for the tests of the readers."""

import io
import itertools
import tarfile

import numpy as np
from PIL import Image

from distgan.data.prepare import Request, prepare
from distgan.data.shards.manifest import load_manifest
from distgan.data.shards.reader import read_pieces
from distgan.data.sources.shapes import Shapes, render, truth
from distgan.utils.files import sha256


def make(path, count=230, shard_size=40, layout="pictures"):
    """Shapes in shards; returns {pixels as bytes: (index, label)}."""
    prepare(Request(path, Shapes(count), shard_size=shard_size, layout=layout), progress=False)
    return known(count)


def known(count):
    images = render(truth(0, "train", np.arange(count))).transpose(0, 3, 1, 2)
    return {np.ascontiguousarray(image).tobytes(): (index, index % 10) for index, image in enumerate(images)}


def take(source, count, start=0):
    """The first batches from number `start` on; the source's workers are ended."""
    batches = source.batches(start, lambda _: False)
    taken = list(itertools.islice(batches, count))
    batches.close()
    return taken


def read_shard(selection, shard):
    """A shard's images, one by one, where nothing may be lost."""
    return itertools.chain.from_iterable(read_pieces(selection, shard))


def members(path):
    with tarfile.open(path) as archive:
        return [(member.name, archive.extractfile(member).read()) for member in archive.getmembers()]


def read_pixels(path):
    """All images of a data set of pictures, in order: uint8 [N, size, size(, 3)]."""
    shards = [path / shard.name for shard in load_manifest(path).shards]
    files = [data for shard in shards for name, data in members(shard) if not name.endswith(".cls")]
    return np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in files])


def rewrite(path, content):
    """A shard with other members; its manifest stays as it is."""
    with tarfile.open(path, "w") as archive:
        for name, data in content:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))


def uneven(path, sizes):
    """Splits the first shard's images over shards of these sizes, and says so in the manifest."""
    manifest = load_manifest(path)
    content = members(path / manifest.shards[0].name)
    (path / manifest.shards[0].name).unlink()
    shards, start = [], 0
    for number, size in enumerate(sizes):
        part = content[2 * start : 2 * (start + size)]
        rewrite(path / f"part-{number}.tar", part)
        counts = np.bincount([int(data) for name, data in part if name.endswith("cls")], minlength=10)
        file = path / f"part-{number}.tar"
        changes = {"name": file.name, "count": size, "class_counts": tuple(counts.tolist())}
        changes |= {"bytes": file.stat().st_size, "sha256": sha256(file)}
        shards.append(manifest.shards[0].model_copy(update=changes))
        start += size
    assert 2 * start == len(content)
    manifest.model_copy(update={"shards": tuple(shards)}).save(path)
