"""Images in, WebDataset tar shards out, `shard_size` images in each: a PNG per image, or blocks of raw images.

The same images in the same order give the same bytes: tar headers carry no time and no user. Images are encoded in
threads (Pillow and zlib release the interpreter lock), so this also works inside a training process.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np

from distgan.data.shards.blocks import encode_block, max_block_images
from distgan.data.shards.decode import ImageFile, ImageForm
from distgan.data.shards.manifest import Layout, Shard
from distgan.data.shards.png import Pixels, encode_png
from distgan.data.shards.tar import CHECKSUM_AS_SPACES
from distgan.data.sources.base import SourceImages
from distgan.utils.counter_rng import IntArray
from distgan.utils.files import fsync
from distgan.utils.progress import track
from distgan.utils.system import usable_cores

T = TypeVar("T")
IMAGES_PER_TASK = 128  # encoded by a thread at a time
MAX_THREADS = 32


class ShardWriter:
    """Writes images to DIRECTORY/SPLIT-000000.tar, -000001.tar, ..., and flushes each file to disk.

    `entries` has one `Shard` per finished file. Leaving the context finishes the last file; after an exception the
    file is closed as it is. All methods raise OSError.

        with ShardWriter(directory, "train", "pictures", ImageForm(32, 3), classes=10, shard_size=1000) as writer:
            writer.add(key, label, encode(pixels, "pictures"))
        writer.entries
    """

    def __init__(
        self, directory: Path, split: str, layout: Layout, form: ImageForm, classes: int, shard_size: int
    ) -> None:
        """form: of the images; classes: their number; shard_size: images per file."""
        self.layout = layout
        self.entries: tuple[Shard, ...] = ()
        self._directory, self._split, self._form, self._classes = directory, split, form, classes
        self._shard_size = shard_size
        self._file: _ShardFile | None = None

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._file is not None and kind is None:
                self._finish(self._file)
        finally:
            if self._file is not None:
                self._file.file.close()

    def add(self, key: int, label: int, encoded: ImageFile) -> None:
        """Adds an image, encoded by `encode`. key: its name in the shard; label: 0 ... classes - 1."""
        if self._file is None:
            path = self._directory / f"{self._split}-{len(self.entries):06d}.tar"
            kind = _ShardFile if self.layout == "pictures" else _BlockShardFile
            self._file = kind(path, self._classes, self._form)
        self._file.add(key, label, encoded)
        if self._file.count == self._shard_size:
            self._finish(self._file)

    def _finish(self, file: _ShardFile) -> None:
        self.entries += (file.finish(),)
        self._file = None


def write_shards(
    writer: ShardWriter, images: SourceImages, order: IntArray, label: str, progress: bool
) -> tuple[Shard, ...]:
    """Encodes images and writes them in `order` (rows); images that the source leaves out make no gap.

    label: names the work where progress is shown. Returns the writer's entries. Raises what `images.read` raises, and
    OSError.
    """
    with writer, closing(encode_all(images.read, order, writer.layout)) as encoded:
        shown = track(encoded, len(order), label, "images", enabled=progress)
        for data, row in zip(shown, order, strict=True):
            if data is not None:
                writer.add(int(images.keys[row]), int(images.labels[row]), data)
    return writer.entries


def encode(image: Pixels | ImageFile, layout: Layout) -> ImageFile:
    """Returns an image as `ShardWriter.add` takes it: a file, for pixels a PNG; for blocks the planes of its pixels."""
    if isinstance(image, ImageFile):
        return image
    return ImageFile(encode_png(image), "png") if layout == "pictures" else ImageFile(_planes(image), "raw")


def _planes(image: Pixels) -> bytes:
    return image.transpose(2, 0, 1).tobytes()


def encode_all(
    read: Callable[[IntArray], Sequence[Pixels | ImageFile | None]], order: IntArray, layout: Layout
) -> Generator[ImageFile | None, None, None]:
    """Reads and encodes images in threads. Yields one result per row of `order`; None stays None."""

    def task(rows: IntArray) -> list[ImageFile | None]:
        return [None if image is None else encode(image, layout) for image in read(rows)]

    return in_threads(task, order)


def in_threads(task: Callable[[IntArray], Sequence[T]], order: IntArray) -> Generator[T, None, None]:
    """Calls `task` in threads, with some rows of `order` at a time. Yields its results in order."""
    waiting: deque[Future[Sequence[T]]] = deque()
    with ThreadPoolExecutor(thread_count()) as pool:
        try:
            for start in range(0, len(order), IMAGES_PER_TASK):
                waiting.append(pool.submit(task, order[start : start + IMAGES_PER_TASK]))
                if len(waiting) > 2 * thread_count():  # only a few results wait in memory
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def thread_count() -> int:
    """Threads that encode: the cores that this process may use, at most MAX_THREADS."""
    return min(usable_cores(), MAX_THREADS)


class _ShardFile:
    """A tar file, counted and hashed while it is written: `KEY.png` (or .jpg, .webp) and `KEY.cls` per image."""

    def __init__(self, path: Path, classes: int, form: ImageForm) -> None:
        self.path, self.count, self.bytes, self.form = path, 0, 0, form
        self.class_counts = [0] * classes
        self.digest = hashlib.sha256()
        self.file = path.open("wb")

    def add(self, key: int, label: int, encoded: ImageFile) -> None:
        self.count += 1
        self.class_counts[label] += 1
        self._write_image(key, label, encoded)

    def _write_image(self, key: int, label: int, encoded: ImageFile) -> None:
        image = _tar_member(f"{key:09d}.{encoded.format}", encoded.data)
        self._write(image + _tar_member(f"{key:09d}.cls", str(label).encode()))

    def finish(self) -> Shard:
        self._write(bytes(1024))  # two empty tar blocks end an archive
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


class _BlockShardFile(_ShardFile):
    """A tar file of blocks: as many images as a block holds are collected, then written."""

    def __init__(self, path: Path, classes: int, form: ImageForm) -> None:
        super().__init__(path, classes, form)
        self.waiting: list[tuple[bytes, int]] = []

    def _write_image(self, key: int, label: int, encoded: ImageFile) -> None:
        self.waiting.append((encoded.data, label))
        if len(self.waiting) == max_block_images(self.form):
            self._write_block()

    def finish(self) -> Shard:
        self._write_block()
        return super().finish()

    def _write_block(self) -> None:
        if not self.waiting:
            return
        pixels, labels = zip(*self.waiting, strict=True)
        size, channels = self.form.size, self.form.channels
        images = np.frombuffer(b"".join(pixels), np.uint8).reshape(-1, channels, size, size)
        key = f"{self.count - len(labels):09d}"
        for extension, data in encode_block(images, np.array(labels, dtype="<i8")).items():
            self._write(_tar_member(f"{key}.{extension}", data))
        self.waiting = []


def _tar_member(name: str, data: bytes) -> bytes:
    """Returns a tar member: header (mode 0644, no time, no user), content, padding. name: ASCII, at most 100 signs.

    The header is that of `tarfile.TarInfo`, made once and changed, which takes a fifth of the time.
    """
    if len(data) > MAX_OCTAL:
        header = tarfile.TarInfo(name)
        header.size = len(data)
        head = header.tobuf(tarfile.USTAR_FORMAT)
    else:
        block = bytearray(_EMPTY_HEADER)
        block[: len(name)] = name.encode("ascii")
        block[124:135] = b"%011o" % len(data)
        block[148:156] = b"%06o\0 " % (sum(block) + CHECKSUM_AS_SPACES)
        head = bytes(block)
    return head + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def _empty_header() -> bytes:
    """A tar header without a name and a checksum."""
    header = tarfile.TarInfo("").tobuf(tarfile.USTAR_FORMAT)
    return header[:148] + bytes(8) + header[156:]


_EMPTY_HEADER = _empty_header()
MAX_OCTAL = 0o77777777777  # bytes of the largest member that a header can name in octal digits
