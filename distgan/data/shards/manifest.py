"""What a directory of shards holds: `manifest.json`, written last, so that its presence means 'complete'."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError, model_validator

from distgan.config.messages import first_mistake
from distgan.data.remote.store import RemoteStore
from distgan.utils.errors import DataError
from distgan.utils.files import atomic_path
from distgan.utils.safe_io import read_bytes

MANIFEST = "manifest.json"
LIMIT = 64 << 20  # bytes of a manifest
MAX = 10**12  # images of a shard: far above what there is, far below what overflows


def _is_printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it holds characters that cannot be shown")
    return text


Layout = Literal["pictures", "blocks"]
Text = Annotated[str, Field(max_length=255), AfterValidator(_is_printable)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shard(_Model):
    """One tar file."""

    name: Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.tar$")]
    """File name beside the manifest; never a path."""
    count: Annotated[int, Field(ge=1, le=MAX)]
    class_counts: tuple[NonNegativeInt, ...]
    """Images per class, in the order of `Manifest.classes`."""
    bytes: Annotated[int, Field(ge=1, le=1024 * MAX)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @model_validator(mode="after")
    def _counts_add_up(self) -> Shard:
        if sum(self.class_counts) != self.count:
            raise ValueError(f"class_counts of {self.name} add up to {sum(self.class_counts)}, count says {self.count}")
        return self


class Manifest(_Model):
    """A data set in shards."""

    format_version: Literal[1] = 1
    source: Text
    """shapes, cifar10 or folder."""
    split: Text
    """train or test."""
    size: Annotated[int, Field(ge=1, le=4096)]
    """Height and width, pixels; three channels."""
    layout: Layout = "pictures"
    """What a sample of a shard holds: `KEY.png` + `KEY.cls`, or a block of raw images (blocks.py)."""
    classes: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Names; a label in a shard is the place in this tuple."""
    shards: Annotated[tuple[Shard, ...], Field(min_length=1)]
    request: dict[str, Any]
    """What `prepare` was asked for; the same request again is a no-op."""

    @model_validator(mode="after")
    def _shards_know_the_classes(self) -> Manifest:
        if any(len(shard.class_counts) != len(self.classes) for shard in self.shards):
            raise ValueError("a shard's class_counts has not one entry per class")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("two classes have the same name")
        if len({shard.name for shard in self.shards}) != len(self.shards):
            raise ValueError("two shards have the same name")
        return self

    @property
    def count(self) -> int:
        return sum(shard.count for shard in self.shards)

    @property
    def class_counts(self) -> dict[str, int]:
        totals = [sum(column) for column in zip(*(shard.class_counts for shard in self.shards), strict=True)]
        return dict(zip(self.classes, totals, strict=True))

    @property
    def digest(self) -> str:
        """sha256 of the content: shards, classes and size, not where it came from."""
        content = self.model_dump(mode="json", include={"size", "classes", "shards"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def save(self, directory: Path) -> None:
        with atomic_path(directory / MANIFEST) as temporary:
            temporary.write_text(self.model_dump_json(indent=1) + "\n")


def load_manifest(place: Path | RemoteStore) -> Manifest:
    """Reads PLACE/manifest.json. Raises DataError if it is missing, damaged or of another version."""
    content = _content(place) if isinstance(place, Path) else place.read(MANIFEST, LIMIT)
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise DataError(f"{place}/{MANIFEST} is damaged or of another version: {first_mistake(error)}") from None


def _content(directory: Path) -> bytes:
    path = directory / MANIFEST
    try:
        return read_bytes(path, LIMIT)
    except FileNotFoundError:
        raise DataError(
            f"{directory} holds no {MANIFEST}, so no complete data set; make one with "
            f"`distgan prepare shapes|cifar10|folder --out {directory}`"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path} is no manifest: {error}; make the data set again") from None
