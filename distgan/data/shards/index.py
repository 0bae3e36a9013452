"""Shards of other makers in, their manifest out: every shard is read once, no image is decoded.

The manifest is made of the shards' bytes alone, so every process, and every later start, gets the same one.
"""

from __future__ import annotations

import io
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from distgan.data.fit import Channels, Square, is_gray
from distgan.data.remote.store import Location
from distgan.data.shards.decode import PILLOW_NAMES, ImageFile
from distgan.data.shards.foreign import ForeignSamples, find_label
from distgan.data.shards.manifest import Manifest, Reading, Shard
from distgan.data.shards.tar import READ_ERRORS
from distgan.utils.errors import DataError
from distgan.utils.files import sha256_of
from distgan.utils.limits import MAX_CLASSES
from distgan.utils.progress import track
from distgan.utils.safe_io import open_regular, printable
from distgan.utils.system import usable_cores

MAX_THREADS = 8  # that read shards
MAX_SHARD_BYTES = 64 << 30  # of a shard on a server
MAX_SIZES = 2  # different sizes that are kept: more are not needed to know that there are several

Dimensions = tuple[int, int]
"""Width and height, pixels."""


@dataclass(frozen=True)
class ForeignOptions:
    """How a user wants shards of other makers to be read."""

    size: int | None = None
    """Height and width to bring the images to; None: they have one size already."""
    fit: Square = "crop"
    channels: Channels = "rgb"
    label: str = "auto"
    """cls, json:FIELD or none; auto: cls where the first image has one, else none."""


@dataclass
class ShardContent:
    """What was found in a shard."""

    name: str
    bytes: int
    sha256: str
    label: str
    """Where its classes are: cls, json:FIELD, none."""
    classes: Counter[str] = field(default_factory=Counter)
    """Images by the text of their class."""
    sizes: dict[Dimensions, str] = field(default_factory=dict)
    """An image of each size, by name."""
    gray: int = 0
    """Images of one channel."""
    passed_over: Counter[str] = field(default_factory=Counter)
    """What is neither image nor label, by kind."""


def index_shards(
    location: Location, names: Sequence[str], options: ForeignOptions, progress: bool
) -> tuple[Manifest, list[str]]:
    """The manifest of tar files in a directory or behind a URL, and sentences on what was taken and what was not.

    Raises DataError, naming shard and sample.
    """
    contents = _until_images(location, names, options.label)
    label, rest = contents[-1].label, names[len(contents) :]
    with ThreadPoolExecutor(min(usable_cores(), MAX_THREADS)) as pool:
        try:
            others = pool.map(lambda name: read_content(location, name, label), rest)
            read = itertools.chain(contents, others)
            contents = list(track(read, len(names), f"first look at {location}", "shards", enabled=progress))
        except DataError:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if options.label == "auto" and label == "none":
        _check_no_labels(location, contents)
    contents = [content for content in contents if content.classes]
    if not contents:
        raise DataError(f"{location} holds no image that can be read: png, jpg, jpeg or webp files in its tar files")
    classes = class_names(location, contents, label)
    size, has_others = _common_size(location, contents, options.size)
    numbers = {name: number for number, name in enumerate(classes)}
    manifest = Manifest(
        source="webdataset",
        split="train",
        size=size,
        channels=1 if options.channels == "gray" else 3,
        layout="webdataset",
        reading=Reading(label=label, fit=options.fit if has_others else None),
        classes=classes,
        shards=tuple(_entry(content, numbers) for content in contents),
        request={"size": options.size, "fit": options.fit, "channels": options.channels, "label": label},
    )
    return manifest, notes_on(contents, options)


def _until_images(location: Location, names: Sequence[str], label: str) -> list[ShardContent]:
    """The content of the first shards, up to one with images, which decide what `auto` means."""
    contents = list[ShardContent]()
    for name in names:
        contents.append(read_content(location, name, label))
        if contents[-1].classes or label != "auto":
            break
    return contents


def _check_no_labels(location: Location, contents: Sequence[ShardContent]) -> None:
    """Raises DataError if there are classes, though not beside the first image."""
    for content in contents:
        if count := content.passed_over[".cls"]:
            raise DataError(
                f"{location}/{content.name} holds {count:,} .cls file(s), and the first image of {location} has none "
                "beside it; set label=cls if each image has a class right beside it, or label=none"
            )


def read_content(location: Location, name: str, label: str) -> ShardContent:
    """Reads one shard to its end. label: see `ForeignOptions`. Raises DataError."""
    path = f"{location}/{name}"
    try:
        file, size, digest = open_unknown(location, name)
        with file:
            if label == "auto":
                label = find_label(file) or "none"
                file.seek(0)
            content = ShardContent(name, size, digest, label)
            samples = ForeignSamples(label, content.passed_over)
            for sample in samples.read(file, name):
                content.classes[sample.label] += 1
                _look(sample.file, f"{name}/{sample.key}", content)
                if len(content.classes) > MAX_CLASSES:
                    raise _too_many_classes(path, label)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"shard {path} is missing; correct the list of shards") from None
    except READ_ERRORS as error:
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"shard {path} cannot be read: {error.strerror}") from None
        reason = printable(str(error))
        raise DataError(f"shard {path} is damaged or no tar file ({reason}); get it again, or leave it out") from None
    return content


def open_unknown(location: Location, name: str) -> tuple[BinaryIO, int, str]:
    """A shard that no manifest describes: open at its start, its bytes and its sha256. Raises OSError, DataError."""
    if not isinstance(location, Path):
        return location.open_unknown(name, MAX_SHARD_BYTES)
    file = open_regular(location / name)
    digest = sha256_of(file)
    size = file.tell()
    file.seek(0)
    return file, size, digest


def class_names(location: Location, contents: Iterable[ShardContent], label: str) -> tuple[str, ...]:
    """The classes of all shards: numbers in their order, other names in that of the alphabet. Raises DataError."""
    names = {name for content in contents for name in content.classes}
    if len(names) > MAX_CLASSES:
        raise _too_many_classes(f"{location}", label)
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _look(file: ImageFile, name: str, content: ShardContent) -> None:
    """Notes the size and the channels of an image. What is no image is met again, with its rules, when it is shown."""
    try:
        with Image.open(io.BytesIO(file.data), formats=(PILLOW_NAMES[file.format],)) as image:
            if len(content.sizes) < MAX_SIZES:
                content.sizes.setdefault(image.size, name)
            content.gray += is_gray(image)
    except Exception:  # a damaged image can raise nearly anything
        return


def _common_size(location: Location, contents: Sequence[ShardContent], size: int | None) -> tuple[int, bool]:
    """Height and width of the images, and whether some must be brought to it. Raises DataError."""
    sizes: dict[Dimensions, str] = {}
    for content in contents:
        sizes = dict(itertools.islice((sizes | content.sizes).items(), MAX_SIZES))
    if size is not None:
        return size, set(sizes) != {(size, size)}
    if not sizes:
        raise DataError(f"{location}: none of its images can be read; set data.size, and data.on_error=skip")
    width, height = next(iter(sizes))
    if len(sizes) == 1 and width == height:
        return width, False
    others = [f"{shown} is {w}x{h}" for (w, h), shown in sizes.items()]
    kind = "its images have several sizes" if len(sizes) > 1 else "its images are not square"
    raise DataError(
        f"{location}: {kind} ({', '.join(others)}); set data.size, such as data.size=64, to have them resized "
        "(data.fit=crop, pad or stretch)"
    )


def _entry(content: ShardContent, numbers: dict[str, int]) -> Shard:
    counts = [0] * len(numbers)
    for name, count in content.classes.items():
        counts[numbers[name]] = count
    return Shard(
        name=content.name,
        count=sum(counts),
        class_counts=tuple(counts),
        bytes=content.bytes,
        sha256=content.sha256,
    )


def notes_on(contents: Sequence[ShardContent], options: ForeignOptions) -> list[str]:
    """Sentences on what was taken, and what was not."""
    images = sum(content.classes.total() for content in contents)
    gray = sum(content.gray for content in contents)
    passed_over = sum((content.passed_over for content in contents), Counter[str]())
    notes = list[str]()
    if passed_over:
        kinds = ", ".join(f"{count:,} x {printable(kind)}" for kind, count in passed_over.most_common(8))
        notes.append(f"passed over, as neither image nor label: {kinds}")
    if passed_over[".json"] and contents[0].label == "none":
        notes.append("label=json:FIELD takes the class from a field of the .json files")
    if gray and options.channels == "rgb":
        notes.append(f"{gray:,} gray image(s) are made RGB; data.channels=gray trains on one channel")
    if gray < images and options.channels == "gray":
        notes.append(f"{images - gray:,} colour image(s) are made gray")
    return notes


def _too_many_classes(path: str, label: str) -> DataError:
    return DataError(
        f"{path} has more than {MAX_CLASSES:,} different values of {label}, too many for classes; are they captions? "
        "Use label=none, or another json:FIELD"
    )
