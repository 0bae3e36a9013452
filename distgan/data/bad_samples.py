"""What cannot be read: one name and one sentence for each image, counted, said once, and an error above a limit."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, overload

from distgan.utils.errors import DataError
from distgan.utils.safe_io import SENTENCE, printable

LINES = 20  # warnings about the data per process
_said: list[str] = []


class BadSample(NamedTuple):
    """Stands where an image should be."""

    name: str
    """SHARD/KEY, or SHARD/#PLACE where the shard itself cannot be read."""
    sentence: str
    """What is wrong, for the user."""


@dataclass(frozen=True)
class BadRange(Sequence[BadSample]):
    """Stands where many images should be, of which a manifest may say any number."""

    place: str
    """SHARD/ or SHARD/KEY."""
    numbers: range
    sentence: str

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, which: int) -> BadSample: ...

    @overload
    def __getitem__(self, which: slice) -> BadRange: ...

    def __getitem__(self, which: int | slice) -> BadSample | BadRange:
        if isinstance(which, slice):
            return replace(self, numbers=self.numbers[which])
        return BadSample(f"{self.place}#{self.numbers[which]}", self.sentence)


class SkipBudget:
    """The different images that have been skipped. limit: how many may be; 0: none, the first is an error."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.names: set[str] = set()

    def add(self, found: Iterable[BadSample]) -> list[BadSample]:
        """Counts and returns those that are new. Raises DataError above the limit."""
        new = []
        for bad in found:
            if bad.name not in self.names:
                self.names.add(bad.name)
                new.append(bad)
            if not self.limit:
                raise DataError(bad.sentence)
            if len(self.names) > self.limit:
                raise DataError(
                    f"more images than data.max_skipped={self.limit} cannot be read; the last: {bad.sentence}"
                )
        return new

    def report(self, found: Iterable[BadSample]) -> None:
        """The same, and says on stderr what is new, each sentence once."""
        for sentence in dict.fromkeys(bad.sentence for bad in self.add(found)):
            warn(f"skipped: {sentence}")


def warn(text: str) -> None:
    """A line on stderr, the same one once, and LINES of them at most per process."""
    text = printable(text, SENTENCE)
    if text in _said or len(_said) > LINES:
        return
    _said.append(text)
    rank = os.environ.get("RANK", "0")
    text = text if len(_said) <= LINES else "more is wrong with the data, and not shown any more; training goes on"
    print(f"{'' if rank == '0' else f'[rank {rank}] '}WARNING: {text}", file=sys.stderr, flush=True)
