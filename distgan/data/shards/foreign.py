"""Samples of shards that other makers wrote: image files with a label beside each, grouped by their names.

As in WebDataset, a sample is the files that follow each other and have the same name before the first dot. Where that
would put several images into one sample, the names have dots themselves, and the last one separates.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, groupby, islice
from typing import BinaryIO, NamedTuple

from distgan.data.shards.decode import ImageFile, ImageFormat
from distgan.data.shards.foreign_tar import Member, plain_files, unpacked
from distgan.utils.errors import DataError
from distgan.utils.safe_io import parse_json, printable

IMAGES: Mapping[str, ImageFormat] = {"jpg": "jpg", "jpeg": "jpg", "png": "png", "webp": "webp"}
MAX_IMAGE_BYTES = 64 << 20  # of a file; few within Pillow's limit of pixels are larger
MAX_LABEL_BYTES = 1 << 20
MAX_FILES, MAX_BYTES = 64, 256 << 20  # of one sample
MAX_LABEL_CHARACTERS = 255
NO_CLASSES = "images"  # the one class of images without labels
JSON = "json:"


class ForeignSample(NamedTuple):
    """One image and the text of its label."""

    key: str
    """Its name in the shard, printable."""
    file: ImageFile
    label: str
    offset: int
    """Of the file's first byte in the shard, not packed."""


@dataclass(frozen=True)
class ForeignSamples:
    """How the samples of shards are read."""

    label: str
    """Where the class is: cls (the file KEY.cls), json:FIELD (a field of KEY.json), none."""
    passed_over: Counter[str] = field(default_factory=Counter)
    """What was no image and no label, counted by kind."""

    def read(self, file: BinaryIO, shard: str) -> Iterator[ForeignSample]:
        """Yields the samples of a shard, in order. file: at its start. Raises READ_ERRORS, and DataError."""
        for key, members in groupby(plain_files(unpacked(file), self.limit, self.passed_over), _key_of):
            files = _some(members)
            if len(files) < MAX_FILES:
                yield from self._samples(key, files, shard)
            else:  # names with dots
                yield from self._by_last_dot(chain(files, members), shard)  # noqa: B031 (the rest of the group)

    def _by_last_dot(self, files: Iterable[Member], shard: str) -> Iterator[ForeignSample]:
        for stem, members in groupby(files, lambda member: member.name.rpartition(".")[0]):
            found = _some(members)
            if len(found) == MAX_FILES:
                raise DataError(f"{shard} holds more than {MAX_FILES} files called {printable(stem)}; rename them")
            yield from self._samples(stem, found, shard)

    def limit(self, name: str) -> int:
        """The most bytes of a file of this name; 0: it is no image and no label."""
        if name.rpartition("/")[2].startswith("."):  # such as ._1.jpg, which macOS adds
            return 0
        if _ending(name) in IMAGES:
            return MAX_IMAGE_BYTES
        return MAX_LABEL_BYTES if _ending(name) == self._label_file else 0

    @property
    def _label_file(self) -> str:
        return "json" if self.label.startswith(JSON) else self.label

    def _samples(self, key: str, files: Iterable[Member], shard: str) -> Iterator[ForeignSample]:
        """The samples among files whose names begin with `key` and a dot."""
        named = [(each.name[len(key) + 1 :], each) for each in files]
        images = [(rest, each) for rest, each in named if _ending(rest) in IMAGES]
        labels = {rest.lower(): each.content for rest, each in named if _ending(rest) not in IMAGES}
        plain = [item for item in images if "." not in item[0]]
        if not images:
            self.passed_over["label without an image"] += 1
        numbered = any(re.search(r"\d", rest.rpartition(".")[0]) for rest, _ in images)  # parts of keys, not of samples
        if len(plain or images) > 1 and (plain or not numbered):
            kinds = ", ".join(sorted({printable(rest.lower()) for rest, _ in plain or images}))
            raise DataError(
                f"{shard}/{printable(key)} has several images ({kinds}), and nothing says which one is meant; keep one"
            )
        if plain and len(images) > 1:
            self.passed_over["further image of a sample"] += len(images) - 1
        for rest, member in plain or images:
            before, _, ending = rest.rpartition(".")
            name = printable(f"{key}.{before}" if before else key)
            found = labels.get(f"{before}.{self._label_file}".lower(), labels.get(self._label_file))
            label = self._label(found, f"{shard}/{name}")
            yield ForeignSample(name, ImageFile(member.content, IMAGES[ending.lower()]), label, member.offset)

    def _label(self, content: bytes | None, name: str) -> str:
        """The text of a label. Raises DataError."""
        if self.label == "none":
            return NO_CLASSES
        where = f"{name}.{self._label_file}"
        if content is None:
            raise DataError(f"{where} is missing, and it holds the class; {_other_labels(self.label)}")
        value = content.decode(errors="replace").strip() if self._label_file == "cls" else self._field(content, where)
        if not value or len(value) > MAX_LABEL_CHARACTERS or not value.isprintable():
            raise DataError(f"{where} holds {printable(value, 40)!r}, which is no class; {_other_labels(self.label)}")
        return value

    def _field(self, content: bytes, where: str) -> str:
        """The text of a field of a JSON file; its name may have dots, for fields in one another."""
        path = self.label.removeprefix(JSON)
        try:
            value = parse_json(content)
        except ValueError as error:
            raise DataError(f"{where} is no JSON: {printable(str(error))}") from None
        known = ", ".join(map(printable, value)) if isinstance(value, dict) else "none"
        for part in [path] if isinstance(value, dict) and path in value else path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise DataError(f"{where} has no text or whole number in the field {path}; its fields: {known}")
        return str(value)


def find_label(file: BinaryIO) -> str | None:
    """What `label=auto` means: cls if there is one beside the first image of a shard, else none; None: no image."""
    samples = ForeignSamples("cls")
    for _, members in groupby(plain_files(unpacked(file), samples.limit, samples.passed_over), _key_of):
        endings = {_ending(member.name) for member in _some(members)}
        if endings & IMAGES.keys():
            return "cls" if "cls" in endings else "none"
    return None


def _some(members: Iterator[Member]) -> list[Member]:
    """The next files, at most MAX_FILES. Raises DataError if they would fill the memory."""
    files, size = list[Member](), 0
    for member in islice(members, MAX_FILES):
        files.append(member)
        size += len(member.content)
        if size > MAX_BYTES:
            raise DataError(f"the files called {printable(_key_of(member))} have more than {MAX_BYTES:,} bytes")
    return files


def _key_of(member: Member) -> str:
    """The name of a file before its first dot, with its folder."""
    folder, slash, base = member.name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def _ending(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _other_labels(label: str) -> str:
    others = [f"label={other}" for other in ("cls", "json:FIELD", "none") if not other.startswith(label[:4])]
    return f"read the class elsewhere with {' or '.join(others)}"
