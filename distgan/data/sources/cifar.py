"""CIFAR-10 and CIFAR-100 from their official archives, or the folders that these unpack to: shared by both sources.

Each archive has two versions with the same images in the same order. An archive is never unpacked to disk: only members
of known names and sizes are read. The binary version is plain records; the python version's pickles go through
`safe_pickle`. A local copy that can be read is taken, with a note if its MD5 differs from the official one.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from distgan.data.remote.store import RemoteStore
from distgan.data.shards.tar import CheckedHeader
from distgan.data.sources.arrays import fitted_array, select_rows
from distgan.data.sources.base import Offer, SourceImages, select_classes
from distgan.data.sources.fitted import Shaped
from distgan.data.sources.official import Archive, fetch
from distgan.data.sources.safe_pickle import read_batch
from distgan.utils.counter_rng import IntArray
from distgan.utils.errors import DataError
from distgan.utils.files import md5
from distgan.utils.safe_io import open_regular, printable

SIZE = 32
PIXEL_BYTES = 3 * SIZE**2  # of an image: red, green and blue planes
COUNTS = {"train": 50_000, "test": 10_000}  # official images per split
MAX_ARCHIVE_BYTES = 1 << 29  # unpacked; the official archives have 187 MB
MAX_MEMBERS = 1000  # of an archive; the official ones have 9
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
STORE = RemoteStore("https://www.cs.toronto.edu/~kriz")

Batches = dict[str, bytes]
"""Contents of batch files by file name."""


@dataclass(frozen=True)
class Kind:
    """One of the two data sets."""

    name: str
    source: str
    folders: Mapping[str, str]
    """What the archives unpack to, by version (bin, py)."""
    files: Mapping[str, Mapping[str, tuple[str, ...]]]
    """The files of a split, by version and split."""
    records: tuple[str, ...]
    """What the label bytes of a binary record mean, in order: keys of the pickled version."""
    label: str
    """The one that is read."""
    classes: tuple[str, ...]
    official: tuple[Archive, ...]
    """The binary archive, then the python one."""
    max_batch_bytes: int
    """Of a file; pickles of Python 3 have up to twice the bytes of the official ones."""

    @property
    def record_bytes(self) -> int:
        """Bytes of an image in the binary version: labels, then pixels."""
        return len(self.records) + PIXEL_BYTES

    def names(self, split: str) -> set[str]:
        """The files that may hold a split."""
        return {name for splits in self.files.values() for name in splits[split]}


@dataclass(frozen=True)
class CifarSource(Shaped):
    """Where an archive is, or may be downloaded to."""

    archive: Path | None = None
    """A .tar.gz, .tar or unpacked directory; None: one of `official` in `download_dir`, or the first, downloaded."""
    download_dir: Path = Path("downloads")
    store: RemoteStore = STORE
    official: tuple[Archive, ...] = ()

    @property
    def keeps(self) -> tuple[Path, ...]:
        """See `Source`."""
        return (self.download_dir,)


def offer(kind: Kind, source: CifarSource, split: str, classes: tuple[str, ...] | None, more: dict[str, Any]) -> Offer:
    """Describes a split; reads `source.archive` once if there is one. more: of the request. See `Source`."""
    names = select_classes(kind.classes, classes)
    local = None if source.archive is None else _inside(source.archive, source.official)
    checksum = None if local is None else fingerprint(local, split, kind)

    def load(progress: bool) -> SourceImages:
        path = local or fetch(source.store, source.official, source.download_dir, progress)
        images = load_split(path, split, names, kind, source)
        if os.path.isfile(path) and checksum not in (None, "official"):
            known = ", ".join(archive.md5 for archive in kind.official)
            images.notes.append(f"{path} can be read, but its MD5 is neither of the two official ones: {known}")
        return images

    made = source.make_offer(kind.source, names, {"archive": checksum, **more}, load)
    if source.size != SIZE:
        return made
    return replace(made, request={name: value for name, value in made.request.items() if name != "size"})  # as ever


def _inside(path: Path, official: tuple[Archive, ...]) -> Path:
    """The archive in a directory where torchvision has put one and not unpacked it; else `path`."""
    try:
        alone = len(os.listdir(path)) == 1
    except OSError:  # it is no directory, or says so when it is read
        return path
    return next((path / each.name for each in official if alone and os.path.isfile(path / each.name)), path)


def fingerprint(path: Path, split: str, kind: Kind) -> str:
    """Returns 'official', or a digest of the bytes that would be read. Raises DataError if nothing can be read."""
    if os.path.isdir(path):
        digest = hashlib.md5(usedforsecurity=False)
        for name, content in sorted(_read_directory(path, split, kind).items()):
            digest.update(name.encode() + content)
        return digest.hexdigest()
    try:
        checksum = md5(path)
    except OSError as error:
        raise _unreadable(path, error) from None
    return "official" if checksum in [archive.md5 for archive in kind.official] else checksum


def load_split(path: Path, split: str, classes: tuple[str, ...], kind: Kind, shape: Shaped) -> SourceImages:
    """Loads the images of some classes from an archive or directory. Raises DataError if a class has none."""
    pixels, labels = read_split(path, split, kind)
    keys, chosen = select_rows(labels, kind.classes, classes, f"{path} holds no {split} image")
    notes = []
    if len(labels) != COUNTS[split]:
        notes.append(f"{path} holds {len(labels):,} of the official {COUNTS[split]:,} {split} images")
    images = pixels.reshape(-1, 3, SIZE, SIZE).transpose(0, 2, 3, 1)
    return fitted_array(shape, images, keys, chosen, notes)


def read_split(path: Path, split: str, kind: Kind) -> tuple[npt.NDArray[np.uint8], IntArray]:
    """Returns pixels uint8 [N, 3072] (red, green and blue planes) and labels [N] of a split, in official order.

    path: archive or directory. Raises DataError if it is missing, damaged, unsafe or something else.
    """
    batches = _read_directory(path, split, kind) if os.path.isdir(path) else _read_archive(path, split, kind)
    for version, splits in kind.files.items():
        names = splits[split]
        if not any(name in batches for name in names):
            continue
        if missing := [name for name in names if name not in batches]:
            raise DataError(f"{path} is incomplete: {missing[0]} is missing; get the archive again")
        parse = read_pickle if version == "py" else read_records
        parts = [parse(batches.pop(name), f"{path}: {name}", kind) for name in names]
        return np.concatenate([pixels for pixels, _ in parts]), np.concatenate([labels for _, labels in parts])
    first, second = (splits[split][0] for splits in kind.files.values())
    raise DataError(f"{path} holds no {kind.name} {split} batches ({first} or {second}); {_advice(path)}")


def _advice(path: Path) -> str:
    """What to do with something that holds no batches."""
    if os.path.isdir(path) and any(path.glob("[tT]rain[lL]abels.csv")):
        return f"Kaggle's images with their trainLabels.csv are read by `distgan prepare folder {path}`"
    if os.path.isdir(path) and any(path.glob("**/*.parquet")):
        return f"parquet files are read by `distgan prepare hf {path}`"
    return (
        "give an official archive or its unpacked directory, or use `distgan prepare folder` for class sub-folders of "
        "images"
    )


def read_pickle(content: bytes, name: str, kind: Kind) -> tuple[npt.NDArray[np.uint8], IntArray]:
    """Returns pixels [N, 3072] and labels [N] of one file of the python version. name: of the file, for errors."""
    return read_batch(content, name, kind.name, kind.label, len(kind.classes))


def read_records(content: bytes, name: str, kind: Kind) -> tuple[npt.NDArray[np.uint8], IntArray]:
    """Returns pixels [N, 3072] and labels [N] of one file of the binary version. name: of the file, for errors."""
    if not content or len(content) % kind.record_bytes:
        raise DataError(
            f"{name} is damaged: {len(content):,} bytes are not a whole number of {kind.record_bytes}-byte records"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, kind.record_bytes)
    labels = records[:, kind.records.index(kind.label)]
    if labels.max() >= len(kind.classes):
        raise DataError(f"{name} is damaged: record {int(labels.argmax())} has a label above {len(kind.classes) - 1}")
    return records[:, len(kind.records) :], labels.astype(np.int64)


def _read_directory(path: Path, split: str, kind: Kind) -> Batches:
    """Returns the batch files in PATH or in the folder in it that an archive unpacks to. Raises DataError."""
    batches: Batches = {}
    for version, splits in kind.files.items():
        places = (path, path / kind.folders[version])
        for file in (folder / name for folder in places for name in splits[split]):
            try:
                status = file.stat()
                if not stat.S_ISREG(status.st_mode):
                    raise DataError(f"{file} is not a regular file")
                _check_size(f"{file}", status.st_size, kind)
                batches.setdefault(file.name, file.read_bytes())
            except FileNotFoundError:
                continue
            except OSError as error:
                raise _unreadable(file, error) from None
    return batches


def _read_archive(path: Path, split: str, kind: Kind) -> Batches:
    """Returns the batch files in a .tar.gz or .tar, read once to its end, which checks gzip's checksum.

    Raises DataError.
    """
    batch_files = kind.names(split)
    batches: Batches = {}
    try:
        with open_regular(path) as file, _unpacked(file, path) as unpacked:
            stream = _LimitedReader(unpacked, path)
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=CheckedHeader) as archive:  # type: ignore[call-overload]
                for number, member in enumerate(archive):
                    if number == MAX_MEMBERS:
                        raise DataError(f"{path} has more than {MAX_MEMBERS:,} members; get the official archive")
                    name = _checked_name(member, path, kind)
                    if member.isfile() and name in batch_files:
                        _check_size(f"{path}: {printable(member.name)}", member.size, kind)
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
    if start.startswith(b"PAR1"):
        raise DataError(f"{path} is a parquet file; it is read by `distgan prepare hf {path}`")
    for magic, name in PACKINGS.items():
        if start.startswith(magic):
            raise DataError(f"{path} is packed with {name}, which is not read here; unpack it and give the directory")
    return gzip.GzipFile(fileobj=file) if start.startswith(GZIP) else file


def _checked_name(member: tarfile.TarInfo, path: Path, kind: Kind) -> str:
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
    return parts[-1] if len(parts) == 1 or parts[-2] in kind.folders.values() else ""


def _check_size(name: str, size: int, kind: Kind) -> None:
    if size > kind.max_batch_bytes:
        raise DataError(
            f"{name} has {size:,} bytes, a {kind.name} batch at most {kind.max_batch_bytes:,}; get the archive again"
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
            raise DataError(f"{self.path} unpacks to more than {MAX_ARCHIVE_BYTES:,} bytes; CIFAR has less")
        return data
