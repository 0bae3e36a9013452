"""CIFAR-10 from its official archives: the binary one is downloaded; a local archive or directory may be either.

Both versions hold the same images in the same order. The archive is never unpacked to disk: only members of known
names and sizes are read. The binary version is plain records; the python version's pickles go through `safe_pickle`.
A download must have the official MD5; a local copy that can be read is taken, with a note if its MD5 differs.
"""

from __future__ import annotations

import gzip
import hashlib
import stat
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
import numpy.typing as npt

from distgan.data.remote.store import RemoteStore
from distgan.data.shards.png import Pixels
from distgan.data.shards.tar import CheckedHeader
from distgan.data.sources.base import Offer, SourceImages, select_classes
from distgan.data.sources.safe_pickle import read_batch
from distgan.utils.counter_rng import IntArray
from distgan.utils.errors import DataError
from distgan.utils.files import ABANDONED_SECONDS, md5, sweep
from distgan.utils.safe_io import open_regular, printable

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
COUNTS = {"train": 50_000, "test": 10_000}  # official images per split
RECORD_BYTES = 3073  # of an image in the binary version: label, then red, green and blue planes
MAX_BATCH_BYTES = 2 * 10_000 * RECORD_BYTES  # official batches have half; pickles of Python 3 have more
MAX_ARCHIVE_BYTES = 1 << 29  # unpacked; the official archives have 187 MB
MAX_MEMBERS = 1000  # of an archive; the official ones have 9
FOLDERS = {"bin": "cifar-10-batches-bin", "py": "cifar-10-batches-py"}
GZIP = b"\x1f\x8b"
PACKINGS = {
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf": "7-Zip",
}
READ_ERRORS = (EOFError, tarfile.TarError, zlib.error, gzip.BadGzipFile, ValueError, OverflowError, RecursionError)
"""Exceptions that a damaged archive can cause."""

Batches = dict[str, bytes]
"""Contents of batch files by file name."""


@dataclass(frozen=True)
class Archive:
    """An archive that CIFAR's authors publish."""

    name: str
    size: int
    """Bytes."""
    md5: str


class _NotOfficial(DataError):
    """An archive in the download directory is not the one that CIFAR's authors publish."""


STORE = RemoteStore("https://www.cs.toronto.edu/~kriz")
BINARY = Archive("cifar-10-binary.tar.gz", 170_052_171, "c32a1d4ab5d03f1284b67883e8d87530")
PYTHON = Archive("cifar-10-python.tar.gz", 170_498_071, "c58f30108f718f92721af3b95e74349a")
OFFICIAL = (BINARY, PYTHON)
OFFICIAL_MD5 = tuple(archive.md5 for archive in OFFICIAL)


@dataclass(frozen=True)
class Cifar10:
    """The source `cifar10`: CIFAR-10 from a local archive or directory, or downloaded to `download_dir`."""

    archive: Path | None = None
    """A .tar.gz, .tar or unpacked directory; None: one of `official` in `download_dir`, or the first, downloaded."""
    download_dir: Path = Path("downloads")
    store: RemoteStore = STORE
    official: tuple[Archive, ...] = OFFICIAL

    def offer(self, split: str, classes: tuple[str, ...] | None) -> Offer:
        """Describes a split; reads `archive` once if there is one. See `Source`."""
        names = select_classes(CLASSES, classes)
        checksum = None if self.archive is None else fingerprint(self.archive, split)

        def load(progress: bool) -> SourceImages:
            path = self.archive or fetch(self.store, self.official, self.download_dir, progress)
            images = load_split(path, split, names)
            if path.is_file() and checksum not in (None, "official"):
                known = ", ".join(OFFICIAL_MD5)
                images.notes.append(f"{path} can be read, but its MD5 is neither of the two official ones: {known}")
            return images

        return Offer("cifar10", 32, names, {"archive": checksum}, load)


def fetch(store: RemoteStore, official: tuple[Archive, ...], directory: Path, progress: bool) -> Path:
    """Returns one of the official archives in a directory; downloads the first if none is there with its MD5.

    Raises DataError.
    """
    archive = official[0]
    path = directory / archive.name
    try:
        there = [known for known in official if (directory / known.name).is_file()]
        for known in there:
            if md5(directory / known.name) == known.md5:
                return directory / known.name
        if there:
            raise _not_official(directory / there[0].name)
        directory.mkdir(parents=True, exist_ok=True)
        sweep(directory, archive.name, ABANDONED_SECONDS)
        store.download(archive.name, path, archive.size, archive.md5, progress)
    except _NotOfficial:
        raise
    except DataError as error:
        raise DataError(
            f"{error}; try again later, or get {archive.name} another way and pass --from PATH "
            f"(or put it in {directory})"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}; give another --download-dir") from None
    return path


def _not_official(path: Path) -> _NotOfficial:
    return _NotOfficial(
        f"{path} is there, but its MD5 is not that of the official archive; use it as it is with --from {path}, or "
        "move it away to download the official one"
    )


def fingerprint(path: Path, split: str) -> str:
    """Returns 'official', or a digest of the bytes that would be read. Raises DataError if nothing can be read."""
    if path.is_dir():
        digest = hashlib.md5(usedforsecurity=False)
        for name, content in sorted(_read_directory(path, split).items()):
            digest.update(name.encode() + content)
        return digest.hexdigest()
    try:
        checksum = md5(path)
    except OSError as error:
        raise _unreadable(path, error) from None
    return "official" if checksum in OFFICIAL_MD5 else checksum


def load_split(path: Path, split: str, classes: tuple[str, ...]) -> SourceImages:
    """Loads the images of some classes from an archive or directory. Raises DataError if a class has none."""
    pixels, labels = read_split(path, split)
    label_map = np.array([classes.index(name) if name in classes else -1 for name in CLASSES])
    keys = np.flatnonzero(label_map[labels] >= 0)
    counts = np.bincount(label_map[labels[keys]], minlength=len(classes))
    if not counts.all():
        missing = classes[int(np.argmin(counts))]
        raise DataError(f"{path} holds no {split} image of class {missing}; leave it out with --classes")
    images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)

    def read(rows: IntArray) -> list[Pixels]:
        return list(np.ascontiguousarray(images[keys[rows]]))

    notes = []
    if len(labels) != COUNTS[split]:
        notes.append(f"{path} holds {len(labels):,} of the official {COUNTS[split]:,} {split} images")
    return SourceImages(keys, label_map[labels[keys]], read, notes)


def batch_names(split: str) -> dict[str, tuple[str, ...]]:
    """Returns the names of the files that hold a split, per version of the archive."""
    stems = tuple(f"data_batch_{i}" for i in range(1, 6)) if split == "train" else ("test_batch",)
    return {"bin": tuple(f"{stem}.bin" for stem in stems), "py": stems}


def read_split(path: Path, split: str) -> tuple[npt.NDArray[np.uint8], IntArray]:
    """Returns pixels uint8 [N, 3072] (red, green and blue planes) and labels [N] of a split, in official order.

    path: archive or directory. Raises DataError if it is missing, damaged, unsafe or something else.
    """
    batches = _read_directory(path, split) if path.is_dir() else _read_archive(path, split)
    files = batch_names(split)
    for version, names in files.items():
        if not any(name in batches for name in names):
            continue
        if missing := [name for name in names if name not in batches]:
            raise DataError(f"{path} is incomplete: {missing[0]} is missing; get the archive again")
        parse = read_batch if version == "py" else read_records
        parts = [parse(batches.pop(name), f"{path}: {name}") for name in names]
        return np.concatenate([pixels for pixels, _ in parts]), np.concatenate([labels for _, labels in parts])
    raise DataError(
        f"{path} holds no CIFAR-10 {split} batches ({files['bin'][0]} or {files['py'][0]}); give an official archive "
        "or its unpacked directory, or use `distgan prepare folder` for class sub-folders of images"
    )


def read_records(content: bytes, name: str) -> tuple[npt.NDArray[np.uint8], IntArray]:
    """Returns pixels [N, 3072] and labels [N] of one file of the binary version. name: of the file, for errors."""
    if not content or len(content) % RECORD_BYTES:
        raise DataError(
            f"{name} is damaged: {len(content):,} bytes are not a whole number of {RECORD_BYTES}-byte records"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD_BYTES)
    if records[:, 0].max() > 9:
        raise DataError(f"{name} is damaged: record {int(records[:, 0].argmax())} has a label above 9")
    return records[:, 1:], records[:, 0].astype(np.int64)


def _read_directory(path: Path, split: str) -> Batches:
    """Returns the batch files in PATH or in PATH/cifar-10-batches-*. Raises DataError."""
    batches: Batches = {}
    for version, names in batch_names(split).items():
        for file in (folder / name for folder in (path, path / FOLDERS[version]) for name in names):
            try:
                status = file.stat()
                if not stat.S_ISREG(status.st_mode):
                    raise DataError(f"{file} is not a regular file")
                _check_size(f"{file}", status.st_size)
                batches.setdefault(file.name, file.read_bytes())
            except FileNotFoundError:
                continue
            except OSError as error:
                raise _unreadable(file, error) from None
    return batches


def _read_archive(path: Path, split: str) -> Batches:
    """Returns the batch files in a .tar.gz or .tar, read once to its end, which checks gzip's checksum.

    Raises DataError.
    """
    batch_files = {name for names in batch_names(split).values() for name in names}
    batches: Batches = {}
    try:
        with open_regular(path) as file, _unpacked(file, path) as unpacked:
            stream = _LimitedReader(unpacked, path)
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=CheckedHeader) as archive:  # type: ignore[call-overload]
                for number, member in enumerate(archive):
                    if number == MAX_MEMBERS:
                        raise DataError(f"{path} has more than {MAX_MEMBERS:,} members; get the official archive")
                    name = _checked_name(member, path)
                    if member.isfile() and name in batch_files:
                        _check_size(f"{path}: {printable(member.name)}", member.size)
                        content = archive.extractfile(member)
                        batches[name] = content.read() if content else b""
            while stream.read(1 << 20):
                pass
    except READ_ERRORS as error:
        raise DataError(f"{path} is damaged or cut short ({printable(str(error))}); get the archive again") from None
    except OSError as error:
        raise _unreadable(path, error) from None
    return batches


def _unpacked(file: BinaryIO, path: Path) -> BinaryIO | gzip.GzipFile:
    """The content of a file, unpacked if it is packed with gzip. Raises DataError for other packings."""
    start = file.read(6)
    file.seek(0)
    for magic, name in PACKINGS.items():
        if start.startswith(magic):
            raise DataError(f"{path} is packed with {name}, which is not read here; unpack it and give the directory")
    return gzip.GzipFile(fileobj=file) if start.startswith(GZIP) else file


def _checked_name(member: tarfile.TarInfo, path: Path) -> str:
    """Returns the file name of a member, or nothing for one in another folder.

    Raises DataError for a path outside the archive, a link or a device.
    """
    parts = member.name.replace("\\", "/").split("/")
    if member.name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        raise DataError(
            f"{path} is not safe: member '{printable(member.name)}' points outside the archive; get the official one"
        )
    if not (member.isreg() or member.isdir()):
        raise DataError(
            f"{path} is not safe: member '{printable(member.name)}' is a link or a device; get the official one"
        )
    return parts[-1] if len(parts) == 1 or parts[-2] in FOLDERS.values() else ""


def _check_size(name: str, size: int) -> None:
    if size > MAX_BATCH_BYTES:
        raise DataError(
            f"{name} has {size:,} bytes, a CIFAR-10 batch at most {MAX_BATCH_BYTES:,}; get the archive again"
        )


def _unreadable(path: Path, error: OSError) -> DataError:
    hint = "; leave --from out to download it" if isinstance(error, FileNotFoundError) else ""
    return DataError(f"{path} cannot be read: {error.strerror or error}{hint}")


class _LimitedReader:
    """An unpacked stream of at most MAX_ARCHIVE_BYTES."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile, path: Path) -> None:
        self.file, self.path, self.left = file, path, MAX_ARCHIVE_BYTES

    def read(self, size: int) -> bytes:
        data = self.file.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise DataError(f"{self.path} unpacks to more than {MAX_ARCHIVE_BYTES:,} bytes; CIFAR-10 has less")
        return data
