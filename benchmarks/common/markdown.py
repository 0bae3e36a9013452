"""Tables that commands write into the documentation: each between two marks of its own name."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from pathlib import Path

from distgan.utils.errors import ConfigError

MARK = "<!-- {}: {} -->"


def filled(document: Path, name: str, text: str) -> str:
    """The document with the text between its marks of that name. Raises ConfigError if it has none."""
    begin, end = MARK.format(name, "begin"), MARK.format(name, "end")
    new, found = re.subn(f"{begin}.*?{end}", lambda _: f"{begin}\n{text}\n{end}", document.read_text(), flags=re.S)
    if not found:
        raise ConfigError(f"{document} has no place for the table: put {begin} and {end} on lines of their own")
    return new


def spread(values: Sequence[float], form: str = ".4g") -> str:
    """The mean and the range of several values: 0.42 (0.41 ... 0.44); those that read the same are one number."""
    mean, low, high = (f"{value:{form}}" for value in (statistics.mean(values), min(values), max(values)))
    return mean if low == high else f"{mean} ({low} ... {high})"
