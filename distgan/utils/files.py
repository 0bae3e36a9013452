"""Writing files so that a reader sees the old one or the new one, never a part; checksums of files."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from distgan.utils.safe_io import open_regular


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on a clean exit it is flushed to disk and renamed to `path`, mode 0644.

    On an exception the temporary file is removed and `path` is as before.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        temporary.chmod(0o644)
        fsync(temporary)
        temporary.replace(path)
        fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(directory: Path) -> None:
    """Removes what killed processes have left half-written in a directory that nobody else writes to now."""
    for left in directory.glob(".*.tmp"):
        if left.is_file():
            left.unlink(missing_ok=True)


def fsync(path: Path) -> None:
    """Flushes a file or a directory to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with open_regular(path) as file:
        return sha256_of(file)


def sha256_of(file: BinaryIO) -> str:
    """Hex digest of what is left of an open file."""
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


_intact: set[tuple[int, int, int, int, str]] = set()
"""Device, inode, size, time of change and sha256 of the files that `is_intact` has hashed."""


def is_intact(file: BinaryIO, size: int, sha256: str) -> bool:
    """Returns whether an open file has this size and sha256; an unchanged file is hashed once per process.

    file: open at its start, and is so afterwards.
    """
    status = os.fstat(file.fileno())
    if status.st_size != size:
        return False
    state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, sha256)
    if state not in _intact:
        digest = sha256_of(file)
        file.seek(0)
        if digest != sha256:
            return False
        _intact.add(state)
    return True
