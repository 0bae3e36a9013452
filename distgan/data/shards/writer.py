"""Images in, WebDataset tar shards out, in tar files of `shard_size` images: a PNG each, or in blocks.

The same images in the same order give the same bytes: tar headers carry no time and no user. Encoding runs in
threads (Pillow and zlib leave the interpreter lock), so it also works inside a training process.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import os
import tarfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from distgan.data.shards import blocks
from distgan.data.shards.manifest import Layout, Shard
from distgan.utils.counter_rng import IntArray
from distgan.utils.errors import DataError
from distgan.utils.files import fsync
from distgan.utils.progress import track

Pixels = npt.NDArray[np.uint8]  # [size, size, 3]
CHUNK = 128  # images per piece of work
PNG_LEVEL = 1  # 32x32: 98 us and 2,287 bytes an image; level 6 takes 15 % longer and saves nothing


@dataclass(frozen=True)
class SourceImages:
    """What a source hands to the writer: N images that are read by row."""

    keys: IntArray
    """[N], unique and >= 0: the image's index in its source, and KEY in the shards."""
    labels: IntArray
    """[N], the place in the offer's classes."""
    read: Callable[[IntArray], Sequence[Pixels | None]]
    """Rows to images; None for one that is skipped. Called from several threads."""
    notes: list[str] = field(default_factory=list)
    """Sentences for the user once all is written."""


@dataclass(frozen=True)
class Offer:
    """A source that knows what it will deliver, before anything slow has happened."""

    source: str
    size: int
    classes: tuple[str, ...]
    request: dict[str, Any]
    """What decides the images, beside split and classes; None in it stands for 'whatever is there'."""
    load: Callable[[bool], SourceImages]
    """Opens the source; the flag says whether to show progress."""


def select_classes(known: Sequence[str], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The wanted classes in the order of `known`; None is all. Raises DataError for a name that is not known."""
    if wanted is None:
        return tuple(known)
    shown = ", ".join(known[:20]) + (f", ... ({len(known)} in all)" if len(known) > 20 else "")
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}? The classes" if near else "the classes"
            raise DataError(f"class '{name}' is not in this data set; {hint} are: {shown}")
    if not wanted:
        raise DataError(f"--classes names no class; leave it out for all, or name some of: {shown}")
    return tuple(name for name in known if name in wanted)


def threads() -> int:
    """Threads that encode: the cores this process may use, 8 at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, 8))


def write_shards(
    directory: Path,
    split: str,
    offer: Offer,
    images: SourceImages,
    order: IntArray,
    shard_size: int,
    layout: Layout,
    progress: bool,
) -> tuple[Shard, ...]:
    """Writes `pictures`, in `order` (rows), to DIRECTORY/SPLIT-000000.tar and on, each flushed to disk.

    Returns one entry per file; skipped images leave no gap. Raises what `pictures.read` raises, and OSError.
    """

    kind = _Writer if layout == "pictures" else _BlockWriter

    def encode(rows: IntArray) -> list[bytes | None]:
        return [None if image is None else kind.encode(image) for image in images.read(rows)]

    shards: list[Shard] = []
    writer: _Writer | None = None
    chunks = (order[start : start + CHUNK] for start in range(0, len(order), CHUNK))
    with ThreadPoolExecutor(threads()) as pool:
        encoded = (item for chunk in _ahead(pool, encode, chunks) for item in chunk)
        try:
            label = f"{offer.source} {split}"
            shown = track(encoded, len(order), label, "pictures", enabled=progress)
            for data, row in zip(shown, order, strict=True):
                if data is None:
                    continue
                if writer is None:
                    writer = kind(directory / f"{split}-{len(shards):06d}.tar", len(offer.classes), offer.size)
                writer.add(int(images.keys[row]), int(images.labels[row]), data)
                if writer.count == shard_size:
                    shards.append(writer.finish())
                    writer = None
            if writer is not None:
                shards.append(writer.finish())
                writer = None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            if writer is not None:
                writer.file.close()
    return tuple(shards)


def png(image: Pixels) -> bytes:
    """Encodes uint8 [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[IntArray], list[bytes | None]], items: Iterable[IntArray]
) -> Iterator[list[bytes | None]]:
    """`map` in order that keeps only a few results waiting."""
    waiting: deque[Future[list[bytes | None]]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > 2 * threads():
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


class _Writer:
    """One tar file that counts and hashes what goes in: `KEY.png` and `KEY.cls` per image."""

    def __init__(self, path: Path, classes: int, size: int) -> None:
        self.path, self.count, self.bytes, self.size = path, 0, 0, size
        self.class_counts = [0] * classes
        self.digest = hashlib.sha256()
        self.file = path.open("wb")

    @staticmethod
    def encode(image: Pixels) -> bytes:
        return png(image)

    def add(self, key: int, label: int, data: bytes) -> None:
        self.count += 1
        self.class_counts[label] += 1
        self._keep(key, label, data)

    def _keep(self, key: int, label: int, data: bytes) -> None:
        self._write(_member(f"{key:09d}.png", data) + _member(f"{key:09d}.cls", str(label).encode()))

    def finish(self) -> Shard:
        self._write(bytes(1024))  # two empty blocks end an archive
        self._write(bytes(-self.bytes % tarfile.RECORDSIZE))
        self.file.close()
        fsync(self.path)
        return Shard(
            name=self.path.name,
            count=self.count,
            class_counts=tuple(self.class_counts),
            bytes=self.bytes,
            sha256=self.digest.hexdigest(),
        )

    def _write(self, data: bytes) -> None:
        self.file.write(data)
        self.digest.update(data)
        self.bytes += len(data)


class _BlockWriter(_Writer):
    """The same, for blocks."""

    def __init__(self, path: Path, classes: int, size: int) -> None:
        super().__init__(path, classes, size)
        self.waiting: list[tuple[bytes, int]] = []

    @staticmethod
    def encode(image: Pixels) -> bytes:
        return image.transpose(2, 0, 1).tobytes()

    def _keep(self, key: int, label: int, data: bytes) -> None:
        self.waiting.append((data, label))
        if len(self.waiting) == blocks.rows(self.size):
            self._flush()

    def finish(self) -> Shard:
        self._flush()
        return super().finish()

    def _flush(self) -> None:
        if not self.waiting:
            return
        pixels, labels = zip(*self.waiting, strict=True)
        images = np.frombuffer(b"".join(pixels), np.uint8).reshape(-1, 3, self.size, self.size)
        name = f"{self.count - len(labels):09d}"
        for extension, data in blocks.encode(images, np.array(labels, dtype="<i8")).items():
            self._write(_member(f"{name}.{extension}", data))
        self.waiting = []


def _member(name: str, data: bytes) -> bytes:
    """A tar member as bytes: header (mode 0644, no time, no user), content, padding."""
    header = tarfile.TarInfo(name)
    header.size = len(data)
    return header.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE)
