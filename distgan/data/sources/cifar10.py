"""CIFAR-10 from its official archives: the binary one is downloaded; a local .tar.gz or its directory may be either.

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
from typing import IO

import numpy as np
import numpy.typing as npt

from distgan.data.remote.store import RemoteStore
from distgan.data.shards.tar import Header
from distgan.data.shards.writer import Offer, SourceImages, select_classes
from distgan.data.sources.safe_pickle import read_batch
from distgan.utils.counter_rng import IntArray
from distgan.utils.errors import DataError
from distgan.utils.files import ABANDONED_SECONDS, md5, sweep
from distgan.utils.safe_io import open_regular, printable

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

COUNTS = {"train": 50_000, "test": 10_000}
RECORD = 3073  # bytes per image in the binary version: label, then red, green and blue planes
MEMBER_LIMIT = 2 * 10_000 * RECORD  # bytes of a batch; official ones have half, Python 3 pickles more
ARCHIVE_LIMIT = 1 << 29  # unpacked bytes of a whole archive; the official ones have 187 MB
FOLDERS = {"py": "cifar-10-batches-py", "bin": "cifar-10-batches-bin"}
MAX_MEMBERS = 1000  # of an archive; the official ones have 9
DAMAGE = (EOFError, tarfile.TarError, zlib.error, gzip.BadGzipFile, ValueError, OverflowError, RecursionError)

Batches = dict[str, bytes]  # file name -> content


@dataclass(frozen=True)
class Archive:
    """An archive that CIFAR's authors publish."""

    name: str
    size: int  # bytes
    md5: str


STORE = RemoteStore("https://www.cs.toronto.edu/~kriz")
BINARY = Archive("cifar-10-binary.tar.gz", 170_052_171, "c32a1d4ab5d03f1284b67883e8d87530")
PYTHON = Archive("cifar-10-python.tar.gz", 170_498_071, "c58f30108f718f92721af3b95e74349a")
OFFICIAL = (BINARY, PYTHON)
KNOWN_MD5 = tuple(archive.md5 for archive in OFFICIAL)


def batch_names(split: str) -> dict[str, tuple[str, ...]]:
    """The files that hold a split, per version."""
    stems = tuple(f"data_batch_{i}" for i in range(1, 6)) if split == "train" else ("test_batch",)
    return {"py": stems, "bin": tuple(f"{stem}.bin" for stem in stems)}


@dataclass(frozen=True)
class Cifar10:
    """The request for a split of CIFAR-10: from a local archive or directory, or downloaded to `download_dir`.

    Of `official`, the first is downloaded unless `download_dir` holds one of them.
    """

    archive: Path | None = None
    download_dir: Path = Path("downloads")
    store: RemoteStore = STORE
    official: tuple[Archive, ...] = OFFICIAL

    def offer(self, split: str, classes: tuple[str, ...] | None) -> Offer:
        names = select_classes(CLASSES, classes)
        archive = None if self.archive is None else fingerprint(self.archive, split)
        return Offer(
            "cifar10", 32, names, {"archive": archive}, lambda progress: self._images(split, names, archive, progress)
        )

    def _images(self, split: str, names: tuple[str, ...], found: str | None, progress: bool) -> SourceImages:
        path = self.archive or fetch(self.store, self.official, self.download_dir, progress)
        pixels, labels = read(path, split)
        place = np.array([names.index(name) if name in names else -1 for name in CLASSES])
        keys = np.flatnonzero(place[labels] >= 0)
        notes = []
        if path.is_file() and found not in (None, "official"):
            notes.append(f"{path} can be read, but its MD5 is neither of the two official ones: {', '.join(KNOWN_MD5)}")
        if len(labels) != COUNTS[split]:
            notes.append(f"{path} holds {len(labels):,} of the official {COUNTS[split]:,} {split} images")
        if missing := [name for i, name in enumerate(names) if not np.any(place[labels] == i)]:
            raise DataError(f"{path} holds no {split} image of class {missing[0]}; leave it out with --classes")
        planes = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return SourceImages(
            keys, place[labels[keys]], lambda rows: list(np.ascontiguousarray(planes[keys[rows]])), notes
        )


def fetch(store: RemoteStore, official: tuple[Archive, ...], directory: Path, progress: bool) -> Path:
    """Returns one of the official archives in a directory; downloads the first where none is there with its MD5.

    Raises DataError.
    """
    archive = official[0]
    path = directory / archive.name
    try:
        for known in official:
            if (found := directory / known.name).is_file() and md5(found) == known.md5:
                return found
        directory.mkdir(parents=True, exist_ok=True)
        sweep(directory, archive.name, ABANDONED_SECONDS)
        store.download(archive.name, path, archive.size, archive.md5, progress)
    except DataError as error:
        raise DataError(
            f"{error}; try again later, or get {archive.name} another way and pass --from PATH "
            f"(or put it in {directory})"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}; give another --download-dir") from None
    return path


def read(path: Path, split: str) -> tuple[npt.NDArray[np.uint8], IntArray]:
    """Pixels uint8 [N, 3072] (three planes) and labels [N] of a split, in official order.

    path: archive or directory. Raises DataError if it is missing, damaged, unsafe or something else.
    """
    batches = _read_directory(path, split) if path.is_dir() else _read_archive(path, split)
    wanted = batch_names(split)
    for version in ("py", "bin"):
        if not any(name in batches for name in wanted[version]):
            continue
        if missing := [name for name in wanted[version] if name not in batches]:
            raise DataError(f"{path} is not whole: {missing[0]} is missing; get the archive anew")
        parse = read_batch if version == "py" else read_records
        parts = [parse(batches.pop(name), f"{path}: {name}") for name in wanted[version]]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    raise DataError(
        f"{path} holds no CIFAR-10 {split} batches ({wanted['py'][0]} or {wanted['bin'][0]}); give an official archive "
        "or its unpacked directory, or use `distgan prepare folder` for class sub-folders of images"
    )


def read_records(content: bytes, what: str) -> tuple[npt.NDArray[np.uint8], IntArray]:
    """Pixels [N, 3072] and labels [N] of one file of the binary version. what: names it in errors."""
    if not content or len(content) % RECORD:
        raise DataError(f"{what} is damaged: {len(content):,} bytes are no whole number of {RECORD}-byte records")
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    if records[:, 0].max() > 9:
        raise DataError(f"{what} is damaged: record {int(records[:, 0].argmax())} has a label above 9")
    return records[:, 1:], records[:, 0].astype(np.int64)


def fingerprint(path: Path, split: str) -> str:
    """'official', or a digest of what would be read. Raises DataError if there is nothing to read."""
    if path.is_dir():
        digest = hashlib.md5(usedforsecurity=False)
        for name, content in sorted(_read_directory(path, split).items()):
            digest.update(name.encode() + content)
        return digest.hexdigest()
    try:
        found = md5(path)
    except OSError as error:
        raise _unreadable(path, error) from None
    return "official" if found in KNOWN_MD5 else found


def _read_directory(path: Path, split: str) -> Batches:
    """The batch files in PATH or in PATH/cifar-10-batches-*."""
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
    """The batches of a split in a .tar.gz, in one pass that also checks the whole file's gzip checksum."""
    wanted = {name for names in batch_names(split).values() for name in names}
    batches: Batches = {}
    try:
        with open_regular(path) as file, gzip.open(file, "rb") as unpacked:
            stream = _Bounded(unpacked, path)
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=Header) as archive:  # type: ignore[call-overload]
                for number, member in enumerate(archive):
                    if number == MAX_MEMBERS:
                        raise DataError(f"{path} has more than {MAX_MEMBERS:,} members; get the official archive")
                    name = _checked_name(member, path)
                    if member.isfile() and name in wanted:
                        _check_size(f"{path}: {printable(member.name)}", member.size)
                        content = archive.extractfile(member)
                        batches[name] = content.read() if content else b""
            while stream.read(1 << 20):
                pass
    except DAMAGE as error:
        raise DataError(f"{path} is damaged or cut short ({printable(str(error))}); get the archive anew") from None
    except OSError as error:
        raise _unreadable(path, error) from None
    return batches


def _checked_name(member: tarfile.TarInfo, path: Path) -> str:
    """The member's file name. Raises DataError for a place outside the archive, a link or a device."""
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


def _check_size(what: str, size: int) -> None:
    if size > MEMBER_LIMIT:
        raise DataError(f"{what} has {size:,} bytes, a CIFAR-10 batch at most {MEMBER_LIMIT:,}; get the archive anew")


def _unreadable(path: Path, error: OSError) -> DataError:
    hint = "; leave --from out to download it" if isinstance(error, FileNotFoundError) else ""
    return DataError(f"{path} cannot be read: {error.strerror or error}{hint}")


class _Bounded:
    """Reads from an unpacked stream, up to a limit."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile, path: Path, limit: int | None = None) -> None:
        self.file, self.path, self.left = file, path, ARCHIVE_LIMIT if limit is None else limit

    def read(self, size: int) -> bytes:
        data = self.file.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise DataError(f"{self.path} unpacks to more than {ARCHIVE_LIMIT:,} bytes; CIFAR-10 has less")
        return data
