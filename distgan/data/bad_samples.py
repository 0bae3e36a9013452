"""Images that cannot be read: a name and a message for each; counted, reported once, an error above a limit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, overload

from distgan.utils.errors import DataError
from distgan.utils.log import log
from distgan.utils.safe_io import MAX_SENTENCE, printable

MAX_WARNINGS = 20  # about the data, per process
_warned: list[str] = []


class BadSample(NamedTuple):
    """Takes the position of one image that cannot be read."""

    name: str
    """SHARD/KEY, or SHARD/#INDEX if the shard itself cannot be read."""
    message: str
    """The damage, as a sentence for the user."""


@dataclass(frozen=True)
class BadRange(Sequence[BadSample]):
    """Takes the positions of many images that cannot be read; any number of them, which a manifest may claim."""

    prefix: str
    """Start of their names: SHARD/ or SHARD/KEY."""
    indices: range
    message: str
    """The damage, as a sentence for the user."""

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> BadSample: ...

    @overload
    def __getitem__(self, index: slice) -> BadRange: ...

    def __getitem__(self, index: int | slice) -> BadSample | BadRange:
        if isinstance(index, slice):
            return replace(self, indices=self.indices[index])
        return BadSample(f"{self.prefix}#{self.indices[index]}", self.message)


class SkipBudget:
    """Counts the different images that a process has skipped, up to a limit."""

    def __init__(self, limit: int) -> None:
        """limit: images that may be skipped; 0: the first bad image is an error."""
        self.limit = limit
        self.names: set[str] = set()

    def add(self, samples: Iterable[BadSample]) -> list[BadSample]:
        """Counts bad images and returns those that are new. Raises DataError above the limit."""
        new = []
        for sample in samples:
            if sample.name not in self.names:
                self.names.add(sample.name)
                new.append(sample)
            if not self.limit:
                raise DataError(sample.message)
            if len(self.names) > self.limit:
                raise DataError(
                    f"more images than data.max_skipped={self.limit} cannot be read; the last: {sample.message}"
                )
        return new

    def report(self, samples: Iterable[BadSample]) -> None:
        """Counts bad images and warns about the new ones, once per message. Raises DataError above the limit."""
        for message in dict.fromkeys(sample.message for sample in self.add(samples)):
            warn(f"skipped: {message}")


def warn(text: str) -> None:
    """Prints a warning to stderr: each text once, at most MAX_WARNINGS per process."""
    text = printable(text, MAX_SENTENCE)
    if text in _warned or len(_warned) > MAX_WARNINGS:
        return
    _warned.append(text)
    if len(_warned) > MAX_WARNINGS:
        text = "there are more problems with the data, which are not shown; training goes on"
    log.warning("%s", text)
