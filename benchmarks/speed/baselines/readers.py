"""Images from shards to batches, on one core: distgan's two modes, and plain readers of the same shards.

All give batches of uint8 images [b, 3, 32, 32] and labels. The embedded data set is made where it is not there yet.
"""

from __future__ import annotations

import io
import itertools
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import webdataset
from PIL import Image
from torch import Tensor

from benchmarks.speed.baselines.dataset import IMAGES, shapes
from benchmarks.speed.baselines.dataset import foreign as foreign_shards
from benchmarks.speed.baselines.pytorch_loop import CLASSES, SIZE
from benchmarks.speed.interleave import turns
from distgan.config.schema import DataConfig
from distgan.data import jpeg
from distgan.data.dataset import ImageDataset
from distgan.utils.rng import Rows

BUFFER = 4096  # images mixed at a time, as by default
CPU = torch.device("cpu")
Work = Callable[[], int]
Images = tuple[Any, Any]  # images and labels


def endless(batches: Iterator[Images], batch: str, images: str) -> Work:
    """A turn takes about so many images."""
    torch.set_num_threads(1)
    count = max(int(images) // int(batch), 1)

    def work() -> int:
        return sum(len(labels) for _, labels in itertools.islice(batches, count))

    return work


def reals(config: DataConfig, batch: str, images: str) -> Work:
    rows = Rows(0, int(batch), int(batch))
    return endless(ImageDataset(config, 0, rows, CPU, show=False).batches(0), batch, images)


@turns
def resident(batch: str = "64", flip: str = "false", data: str = "", images: str = "1000000") -> Work:
    """data.mode=resident."""
    config = DataConfig(path=shapes("pictures", data), mode="resident", flip=flip == "true")
    return reals(config, batch, images)


@turns
def stream(
    layout: str = "pictures",
    workers: str = "0",
    batch: str = "64",
    flip: str = "false",
    data: str = "",
    images: str = "",
) -> Work:
    """data.mode=stream."""
    config = DataConfig(path=shapes(layout, data), mode="stream", workers=int(workers), flip=flip == "true")
    return reals(config, batch, images or {"pictures": "10000", "blocks": "300000"}[layout])


@turns
def memory(batch: str = "64", pixels: str = "1000000") -> Work:
    """`index_select` from a tensor, in a new order every epoch."""
    images = torch.randint(256, (IMAGES, 3, SIZE, SIZE), dtype=torch.uint8)
    labels = torch.randint(CLASSES, (IMAGES,))

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            for index in torch.randperm(IMAGES).split(int(batch)):
                yield images.index_select(0, index), labels.index_select(0, index)

    return endless(batches(), batch, pixels)


@turns
def plain_tar(batch: str = "64", data: str = "", images: str = "10000") -> Work:
    """WebDataset as its documentation has it, with its shuffle buffer, and Pillow."""
    urls = sorted(str(path) for path in shapes("pictures", data).glob("*.tar"))

    def decoded(sample: tuple[bytes, bytes]) -> tuple[np.ndarray, int]:
        return np.asarray(Image.open(io.BytesIO(sample[0]))).transpose(2, 0, 1), int(sample[1])

    source = webdataset.WebDataset(urls, shardshuffle=len(urls)).shuffle(BUFFER, initial=BUFFER)
    batches = source.to_tuple("png", "cls").map(decoded).batched(int(batch)).repeat()
    return endless(iter(batches), batch, images)


@turns
def foreign(decoder: str = "", batch: str = "64", data: str = "", images: str = "2000") -> Work:
    """data.mode=stream, of another maker's shards. decoder: pillow, for a machine without simplejpeg."""
    if decoder == "pillow":
        jpeg._library = lambda: None  # type: ignore[assignment]
    return reals(DataConfig(path=foreign_shards(data), mode="stream", workers=0), batch, images)


@turns
def plain_foreign(batch: str = "64", data: str = "", images: str = "2000") -> Work:
    """WebDataset as its documentation has it, decoding with its own decoder, on another maker's shards."""
    urls = sorted(str(path) for path in foreign_shards(data).glob("*.tar"))
    source = webdataset.WebDataset(urls, shardshuffle=len(urls)).shuffle(BUFFER, initial=BUFFER)
    batches = source.decode("rgb8").to_tuple("jpg", "cls").map_tuple(_planes).batched(int(batch)).repeat()
    return endless(iter(batches), batch, images)


def _planes(image: np.ndarray) -> np.ndarray:
    return image.transpose(2, 0, 1)


@turns
def plain_blocks(batch: str = "64", data: str = "", pixels: str = "300000") -> Work:
    """tarfile and NumPy: a permutation within each shard."""
    paths = sorted(shapes("blocks", data).glob("*.tar"))
    random = np.random.default_rng(0)

    def batches() -> Iterator[Images]:
        while True:
            for number in random.permutation(len(paths)):
                parts: dict[str, list[np.ndarray]] = {"images.npy": [], "labels.npy": []}
                with tarfile.open(paths[number]) as archive:
                    for member in archive:
                        kind = member.name.partition(".")[2]
                        if kind in parts:
                            content = archive.extractfile(member)
                            assert content
                            parts[kind].append(np.load(io.BytesIO(content.read()), allow_pickle=False))
                images, labels = (np.concatenate(part) for part in parts.values())
                for index in np.array_split(random.permutation(len(labels)), -(-len(labels) // int(batch))):
                    yield torch.from_numpy(images[index]), torch.from_numpy(labels[index])

    return endless(batches(), batch, pixels)
