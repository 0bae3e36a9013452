"""Reads files from untrusted sources: only regular ones, up to a size; and makes text from them safe to print.

In: a path and a limit. Out: bytes, or plain JSON values of bounded depth. A file that exceeds a limit raises
ValueError or OSError; its text is the reason, for the caller's sentence. Standard library only.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

MAX_SENTENCE = 2000  # characters of a message; the middle of a longer one is left out
MAX_QUOTE = 200  # characters of a name or reason that a message quotes
MAX_DEPTH = 64  # lists and dicts within one another


def open_regular(path: Path | str, buffering: int = -1) -> BinaryIO:
    """Opens a file for reading, as `open` does. Raises OSError, also for a pipe or a device, which may never end."""
    file = open(path, "rb", buffering, opener=_open_without_waiting)  # noqa: SIM115 (the caller closes it)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """The content of a file of at most `max_bytes` bytes. Raises OSError, ValueError."""
    with open_regular(path) as file:
        content = file.read(max_bytes + 1) if os.fstat(file.fileno()).st_size <= max_bytes else None
    if content is None or len(content) > max_bytes:
        raise ValueError(f"it has more than {max_bytes:,} bytes")
    return content


def read_json(path: Path, max_bytes: int) -> Any:
    """The values in a JSON file of at most `max_bytes` bytes. Raises OSError, ValueError."""
    return parse_json(read_bytes(path, max_bytes))


def parse_json(text: str | bytes) -> Any:
    """Plain values from JSON, at most MAX_DEPTH lists and dicts within one another. Raises ValueError."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [child for item in level for child in _children(item)]
        if not level:
            return value
    raise ValueError(_TOO_DEEP)


def printable(text: str, max_length: int = MAX_QUOTE) -> str:
    """One line of at most `max_length` characters; control characters are escaped, as \\x1b."""
    if len(text) > max_length:
        head = (max_length - 5) * 2 // 3
        text = f"{text[:head]} ... {text[head + 5 - max_length :]}"
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return shown if len(shown) <= max_length else printable(shown, max_length)


def _open_without_waiting(name: str, flags: int) -> int:
    """Opens a file; does not wait until another process opens the other end of a pipe."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


_TOO_DEEP = f"more than {MAX_DEPTH} lists and dicts lie within one another"


def _children(item: Any) -> list[Any]:
    return list(item.values()) if isinstance(item, dict) else item if isinstance(item, list) else []
