"""MNIST, Fashion-MNIST and KMNIST from their idx files, packed with gzip or not; or downloaded.

The default is one channel of 32x32: the 28x28 pixels in the middle of a black border, none of them changed.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from distgan.data.fit import Channels, Square
from distgan.data.remote.store import RemoteStore
from distgan.data.sources.arrays import fitted_array, select_rows
from distgan.data.sources.base import Offer, SourceImages, select_classes
from distgan.data.sources.fitted import Shaped
from distgan.data.sources.official import Archive, fetch
from distgan.utils.errors import DataError
from distgan.utils.files import md5
from distgan.utils.limits import MAX_SIZE
from distgan.utils.safe_io import open_regular, printable

STEMS = {"train": "train", "test": "t10k"}
KINDS = {"images": ("images-idx3-ubyte", 3), "labels": ("labels-idx1-ubyte", 1)}
UBYTE = 8  # the code of unsigned bytes in the head of an idx file
MAX_BYTES = 1 << 26  # of an unpacked file; the official ones have at most 47 MB
FOLDERS = {"mnist": "MNIST/raw", "fashion": "FashionMNIST/raw", "kmnist": "KMNIST/raw"}  # torchvision's
UNPACKED = {
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888": "fashion",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9": "fashion",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b": "fashion",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34": "fashion",
}
"""sha256 of unpacked files -> the variant that they are of; those of Fashion-MNIST are Debian's."""
Variant = Literal["mnist", "fashion", "kmnist"]


@dataclass(frozen=True)
class Published:
    """Where a variant comes from, and what its classes are."""

    classes: tuple[str, ...]
    store: RemoteStore
    files: Mapping[str, Archive]
    """By the name of the file that it unpacks to."""


def _published(classes: tuple[str, ...], url: str, *files: tuple[int, str]) -> Published:
    """files: bytes and MD5 of the packed images and labels of train, and of test."""
    names = [f"{stem}-{kind}" for stem in STEMS.values() for kind, _ in KINDS.values()]
    archives = [Archive(f"{name}.gz", *file) for name, file in zip(names, files, strict=True)]
    return Published(classes, RemoteStore(url), dict(zip(names, archives, strict=True)))


PUBLISHED = {
    "mnist": _published(
        tuple("0123456789"),
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        (9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        (28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
        (1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
        (4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
    ),
    "fashion": _published(
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        (26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        (29_515, "25c81989df183df01b3e8a0aad5dffbe"),
        (4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
        (5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
    ),
    "kmnist": _published(
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist",
        (1 << 25, "bdb82020997e1d708af4cf47b453dcf7"),
        (1 << 16, "e144d726b3acfaa3e44228e80efcd344"),
        (1 << 23, "5c965bf0a639b31b8f53240b1b52f4d7"),
        (1 << 16, "7320c461ea6c1c855c0b718fb2a4b134"),
    ),
}


@dataclass(frozen=True)
class Mnist(Shaped):
    """The source `mnist`: idx files in a directory, or downloaded to `download_dir`."""

    archive: Path | None = None
    """The directory of the idx files, or torchvision's directory above it; None: they are downloaded."""
    variant: Variant = "mnist"
    fit: Square = field(default="pad", kw_only=True)
    channels: Channels = field(default="gray", kw_only=True)
    download_dir: Path = Path("downloads")
    store: RemoteStore | None = None
    official: Mapping[str, Archive] | None = None

    @property
    def keeps(self) -> tuple[Path, ...]:
        """See `Source`."""
        return (self.download_dir,)

    def offer(self, split: str, classes: tuple[str, ...] | None) -> Offer:
        """Describes a split; reads the local files once. See `Source`."""
        names = select_classes(PUBLISHED[self.variant].classes, classes)
        paths = None if self.archive is None else find_files(self.archive, split, self.variant)
        digest = None
        if paths is not None:
            sums = [hashlib.sha256(_content(path)).hexdigest() for path in paths]
            for path, digest in zip(paths, sums, strict=True):
                _check_variant(path, digest, self.variant)
            digest = hashlib.sha256("".join(sums).encode()).hexdigest()
        request = {"variant": self.variant, "files": digest}
        return self.make_offer(
            "mnist",
            names,
            request,
            lambda progress: self._images(paths or self._fetched(split, progress), split, names),
        )

    def _fetched(self, split: str, progress: bool) -> tuple[Path, Path]:
        published = PUBLISHED[self.variant]
        files = self.official or published.files
        found = [
            fetch(
                self.store or published.store,
                (files[f"{STEMS[split]}-{kind}"],),
                self.download_dir / self.variant,
                progress,
            )
            for kind, _ in KINDS.values()
        ]
        return found[0], found[1]

    def _images(self, paths: tuple[Path, Path], split: str, names: tuple[str, ...]) -> SourceImages:
        available = PUBLISHED[self.variant].classes
        images, labels = (read_idx(path, axes) for path, (_, axes) in zip(paths, KINDS.values(), strict=True))
        if len(images) != len(labels):
            raise DataError(
                f"{paths[0]} holds {len(images):,} images, and {paths[1]} {len(labels):,} labels; get both again"
            )
        if not labels.size or labels.max() >= len(available):
            raise DataError(
                f"{paths[1]} holds no label, or one above {len(available) - 1}; --variant is {self.variant}"
            )
        notes = []
        if self.variant == "mnist" and (
            word := next((each for each in ("fashion", "kmnist") if each in f"{paths[0]}".lower()), "")
        ):
            notes.append(f"the classes were called 0 ... 9; --variant {word} calls them as in {paths[0].parent}")
        keys, chosen = select_rows(labels.astype(np.int64), available, names, f"{paths[0]} holds no {split} image")
        return fitted_array(self, images[..., None], keys, chosen, notes)


def _check_variant(path: Path, digest: str, variant: str) -> None:
    """Raises DataError for a known file of another variant. digest: sha256 of its content, unpacked."""
    packed = path if path.suffix == ".gz" else path.with_name(f"{path.name}.gz")  # torchvision keeps both
    found = UNPACKED.get(digest, variant)
    if found == variant and packed.is_file():
        checksum = md5(packed)
        owners = (name for name, each in PUBLISHED.items() for file in each.files.values() if file.md5 == checksum)
        path, found = packed, next(owners, variant)
    if found != variant:
        raise DataError(f"{path} is a file of {found}, not of {variant}; pass --variant {found}")


def find_files(directory: Path, split: str, variant: str) -> tuple[Path, Path]:
    """The files of the images and of the labels of a split, in a directory or in torchvision's folder in it.

    Raises DataError if one is missing.
    """
    found = []
    for name, _ in KINDS.values():
        stem = f"{STEMS[split]}-{name}"
        names = [stem, f"{stem}.gz", stem.replace("-idx", ".idx"), f"{stem.replace('-idx', '.idx')}.gz"]
        places = (directory, directory / FOLDERS[variant], directory / "raw")
        path = next((place / each for place in places for each in names if os.path.isfile(place / each)), None)
        if path is None:
            hint = "" if os.path.isdir(directory) else ": it is no directory"
            raise DataError(
                f"{directory} holds no {stem}, packed with gzip or not{hint}; give the directory of the idx files, or "
                "leave --from out to download them"
            )
        found.append(path)
    return found[0], found[1]


def read_idx(path: Path, axes: int) -> npt.NDArray[np.uint8]:
    """The bytes of an idx file with `axes` axes, as an array. Raises DataError."""
    content = _content(path)
    head = 4 + 4 * axes
    if content[:4] != bytes((0, 0, UBYTE, axes)) or len(content) < head:
        raise DataError(f"{path} is not an idx file of {axes}-dimensional bytes; get it again")
    shape = tuple(int(each) for each in np.frombuffer(content[4:head], ">u4"))
    pixels = np.frombuffer(content, np.uint8, offset=head)
    if int(np.prod(shape, dtype=object)) != len(pixels) or (axes == 3 and not 0 < max(shape[1:]) <= MAX_SIZE):
        raise DataError(f"{path} is damaged: {len(pixels):,} bytes follow a head that says {shape}; get it again")
    return pixels.reshape(shape)


def _content(path: Path) -> bytes:
    """The unpacked content of a file. Raises DataError if it is damaged or too large."""
    try:
        with open_regular(path) as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            content = (gzip.GzipFile(fileobj=file) if packed else file).read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or printable(str(error))}") from None
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged or cut short ({printable(str(error))}); get it again") from None
    if len(content) > MAX_BYTES:
        raise DataError(f"{path} unpacks to more than {MAX_BYTES:,} bytes; idx files of images have less")
    return content
