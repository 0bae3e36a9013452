"""Reading files that a stranger may have made: regular ones, up to a size, and text from them that is safe to show.

In: a path and a limit. Out: bytes, or plain JSON values of bounded depth. What breaks a limit is a ValueError or an
OSError, whose text is the reason for the caller's sentence. Standard library only.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

SENTENCE = 2000  # characters of a message; of a longer one the middle is left out
WORDS = 200  # characters of a name or a reason out of a file, within a message
DEPTH = 64  # lists and dicts within one another


def open_regular(path: Path) -> BinaryIO:
    """Open for reading. Raises OSError, also for a pipe or a device, which could be read for ever."""
    file = open(path, "rb", opener=_open_at_once)  # noqa: SIM115 (it is the caller's)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def read_bytes(path: Path, most: int) -> bytes:
    """A whole file of at most `most` bytes. Raises OSError, ValueError."""
    with open_regular(path) as file:
        content = file.read(most + 1) if os.fstat(file.fileno()).st_size <= most else None
    if content is None or len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content


def read_json(path: Path, most: int) -> Any:
    """The values in a JSON file of at most `most` bytes. Raises OSError, ValueError."""
    return parse_json(read_bytes(path, most))


def parse_json(text: str | bytes) -> Any:
    """Plain values, at most DEPTH lists and dicts within one another. Raises ValueError."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(_DEEP) from None
    level = [value]
    for _ in range(DEPTH + 1):
        level = [child for item in level for child in _children(item)]
        if not level:
            return value
    raise ValueError(_DEEP)


def printable(text: str, most: int = WORDS) -> str:
    """One line of at most `most` characters, without any that a terminal would obey: those are written as \\x1b."""
    if len(text) > most:
        head = (most - 5) * 2 // 3
        text = f"{text[:head]} ... {text[head + 5 - most :]}"
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return shown if len(shown) <= most else printable(shown, most)


def _open_at_once(name: str, flags: int) -> int:
    """Without waiting for somebody to open a pipe's other end."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


_DEEP = f"more than {DEPTH} lists and dicts lie within one another"


def _children(item: Any) -> list[Any]:
    return list(item.values()) if isinstance(item, dict) else item if isinstance(item, list) else []
