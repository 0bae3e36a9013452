"""Tables that commands write into the documentation: each between two marks of its own name."""

from __future__ import annotations

import re
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
