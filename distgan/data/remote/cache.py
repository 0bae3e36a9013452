"""A directory of checked shards, named by their sha256: many processes may use and fill it, and may be killed.

A file gets its name when it is complete. Within a machine one process fetches a file and the others wait for it.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from distgan.utils.errors import DataError
from distgan.utils.files import ABANDONED_SECONDS, atomic_path, is_intact, sweep


def cached_path(directory: Path, sha256: str) -> Path:
    """The file of this sha256, if it is there."""
    return directory / f"{sha256}.tar"


def open_cached(directory: Path, size: int, sha256: str, fill: Callable[[BinaryIO], None]) -> BinaryIO:
    """Opens the file with this size and sha256; `fill` writes it first if it is missing or damaged.

    Raises DataError if the directory cannot be used, and lets errors of `fill` pass; then nothing is kept.
    """
    path = cached_path(directory, sha256)
    try:
        if file := _open_intact(path, size, sha256):
            return file
        directory.mkdir(parents=True, exist_ok=True)
        with locked(directory / f".{sha256[:2]}.lock") as is_locked:
            if file := _open_intact(path, size, sha256):
                return file  # another process has fetched it meanwhile
            sweep(directory, path.name, 0.0 if is_locked else ABANDONED_SECONDS)
            with atomic_path(path) as temporary:
                return _open_filled(temporary, fill)
    except OSError as error:
        raise DataError(
            f"data.cache={directory} cannot be used: {error.strerror}; set another directory, or data.cache=null"
        ) from None


def _open_intact(path: Path, size: int, sha256: str) -> BinaryIO | None:
    """Returns an open file, or None if it is missing or damaged."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    if is_intact(file, size, sha256):
        return file
    file.close()
    return None


def _open_filled(path: Path, fill: Callable[[BinaryIO], None]) -> BinaryIO:
    """Returns a new open file at its start; it stays readable if its name changes or is removed."""
    file = path.open("w+b")
    try:
        fill(file)
        file.flush()
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Waits for a lock and yields True; yields False if the file system has no locks: files may be fetched twice."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            yield False
            return
        yield True
