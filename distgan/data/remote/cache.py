"""A directory of checked files, named by their sha256: any number of processes may use and fill it, and be killed.

A file gets its name when it is whole. Within a machine one process fetches a file and the others wait for it.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from distgan.utils.errors import DataError
from distgan.utils.files import ABANDONED_SECONDS, atomic_path, is_intact, sweep


def cached(directory: Path, size: int, sha256: str, fill: Callable[[BinaryIO], None]) -> BinaryIO:
    """The file with this content, from its start; made by `fill` if it is not there or damaged.

    Raises DataError if the directory cannot be used, and what `fill` raises; then nothing is kept.
    """
    path = directory / f"{sha256}.tar"
    try:
        if file := _open_whole(path, size, sha256):
            return file
        directory.mkdir(parents=True, exist_ok=True)
        with _turn(directory / f".{sha256[:2]}.lock") as alone:
            if file := _open_whole(path, size, sha256):
                return file  # another process has fetched it meanwhile
            sweep(directory, path.name, 0.0 if alone else ABANDONED_SECONDS)
            with atomic_path(path) as temporary:
                return _filled(temporary, fill)
    except OSError as error:
        raise DataError(
            f"data.cache={directory} cannot be used: {error.strerror}; set another directory, or data.cache=null"
        ) from None


def _open_whole(path: Path, size: int, sha256: str) -> BinaryIO | None:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    if is_intact(file, size, sha256):
        return file
    file.close()
    return None


def _filled(path: Path, fill: Callable[[BinaryIO], None]) -> BinaryIO:
    """Stays readable whatever happens to the name."""
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
def _turn(lock: Path) -> Iterator[bool]:
    """Waits for its turn. False where the file system has no locks: then files may be fetched more than once."""
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            yield False
            return
        yield True
