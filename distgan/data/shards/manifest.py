"""`manifest.json`: the content of a directory of shards. It is written last, so its presence means 'complete'."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError, model_validator

from distgan.config.messages import first_mistake
from distgan.data.fit import Square
from distgan.data.remote.store import Location
from distgan.data.shards.absent import describe_absence
from distgan.utils.errors import DataError
from distgan.utils.files import atomic_path
from distgan.utils.limits import MAX_SIZE
from distgan.utils.safe_io import read_bytes

MANIFEST = "manifest.json"
ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
SHARD_NAME = r"[A-Za-z0-9_][A-Za-z0-9._ =+-]*\.(tar|tar\.gz|tgz)"
MAX_SHARD_NAME = 200
MAX_MANIFEST_BYTES = 64 << 20
MAX_SHARD_IMAGES = 10**12  # far above any real shard, far below an overflow
MAX_SHARD_BYTES = 1024 * MAX_SHARD_IMAGES


def _is_printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it holds characters that cannot be shown")
    return text


Layout = Literal["pictures", "blocks"]
AnyLayout = Literal["pictures", "blocks", "webdataset"]
Text = Annotated[str, Field(max_length=255), AfterValidator(_is_printable)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shard(_Model):
    """One tar file."""

    name: Annotated[str, Field(max_length=MAX_SHARD_NAME, pattern=f"^{SHARD_NAME}$")]
    """File name beside the manifest; never a path."""
    count: Annotated[int, Field(ge=1, le=MAX_SHARD_IMAGES)]
    class_counts: tuple[NonNegativeInt, ...]
    """Images per class, in the order of `Manifest.classes`."""
    bytes: Annotated[int, Field(ge=1, le=MAX_SHARD_BYTES)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @model_validator(mode="after")
    def _counts_add_up(self) -> Shard:
        if sum(self.class_counts) != self.count:
            raise ValueError(f"class_counts of {self.name} add up to {sum(self.class_counts)}, count says {self.count}")
        return self


class Reading(_Model):
    """How shards of other makers are read (foreign.py)."""

    label: Text
    """Where the class is: cls, json:FIELD, or none."""
    fit: Square | None
    """How images of other sizes are brought to `Manifest.size`; None: there are none."""


class Manifest(_Model):
    """The content of a data set in shards."""

    format_version: Literal[1] = 1
    source: Text
    """Name of the source, such as shapes or folder."""
    split: Text
    """train or test."""
    size: Annotated[int, Field(ge=1, le=MAX_SIZE)]
    """Height and width, pixels."""
    channels: Literal[1, 3] = 3
    """1: gray, 3: RGB."""
    layout: AnyLayout = "pictures"
    """Content of a sample of a shard: `KEY.png` (.jpg, .webp) + `KEY.cls`, a block of raw images (blocks.py), or what
    another maker has put there (foreign.py)."""
    reading: Reading | None = None
    """For the layout `webdataset`."""
    classes: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Names; a label in a shard is an index in this tuple."""
    shards: Annotated[tuple[Shard, ...], Field(min_length=1)]
    request: dict[str, Any]
    """The request to `prepare`; the same request again does nothing."""

    @model_validator(mode="after")
    def _shards_know_the_classes(self) -> Manifest:
        if any(len(shard.class_counts) != len(self.classes) for shard in self.shards):
            raise ValueError("a shard's class_counts has not one entry per class")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("two classes have the same name")
        if (self.layout == "webdataset") != (self.reading is not None):
            raise ValueError("reading belongs to the layout webdataset")
        if len({shard.name for shard in self.shards}) != len(self.shards):
            raise ValueError("two shards have the same name")
        return self

    @property
    def count(self) -> int:
        """Number of images."""
        return sum(shard.count for shard in self.shards)

    @property
    def class_counts(self) -> dict[str, int]:
        """Images per class, by name."""
        totals = [sum(column) for column in zip(*(shard.class_counts for shard in self.shards), strict=True)]
        return dict(zip(self.classes, totals, strict=True))

    @property
    def digest(self) -> str:
        """sha256 of shards, classes and image size; the source and the request do not count."""
        content: dict[str, Any] = self.model_dump(mode="json", include={"size", "classes", "shards"})
        if self.channels != 3:
            content["channels"] = self.channels
        if self.reading:
            content["reading"] = self.reading.model_dump()
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def save(self, directory: Path) -> None:
        """Writes DIRECTORY/manifest.json, complete or not at all. Raises OSError."""
        with atomic_path(directory / MANIFEST) as temporary:
            temporary.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


def load_manifest(location: Location) -> Manifest:
    """Reads LOCATION/manifest.json. Raises DataError if it is missing, damaged or of another version."""
    content = _read(location) if isinstance(location, Path) else location.read(MANIFEST, MAX_MANIFEST_BYTES)
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        foreign = error.errors()[0]["type"] in ("missing", "extra_forbidden", "model_type")
        hint = "; name shards of another maker themselves, as in DIR/{000..009}.tar" if foreign else ""
        reason = f"{first_mistake(error)}{hint}"
        raise DataError(
            f"{location}/{MANIFEST} is damaged, of another version, or not made by distgan: {reason}"
        ) from None


def _read(directory: Path) -> bytes:
    path = directory / MANIFEST
    try:
        return read_bytes(path, MAX_MANIFEST_BYTES)
    except OSError as error:
        if error.errno in ABSENT:
            raise DataError(describe_absence(directory, MANIFEST)) from None
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path} is not a manifest: {error}; make the data set again") from None
