"""Writing files so that a reader sees the old one or the new one, never a part; checksums of files."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from distgan.utils.safe_io import open_regular

CANNOT_FSYNC = (errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)
ABANDONED_SECONDS = 3600.0
"""Time without a write after which a temporary file counts as left by a killed process, where nothing else can tell."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on a clean exit it is flushed to disk and renamed to `path`.

    On an exception the temporary file is removed and `path` is as before. The umask decides who may read it. Raises
    IsADirectoryError, an OSError, for a path without a name.
    """
    if not path.name:  # `.` and `/` have none
        raise IsADirectoryError(errno.EISDIR, "it is a directory; name a file", str(path))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        fsync(temporary)
        temporary.replace(path)
        fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(directory: Path, name: str = "*", silent_seconds: float = 0.0) -> None:
    """Removes the temporary files that killed processes have left of `atomic_path(directory / name)`.

    name: a file's name, or a pattern. silent_seconds: how long nobody has written to a file that may be removed; 0
    where no other process writes to the directory now.
    """
    for path in directory.glob(f".{name}.*.tmp"):
        with contextlib.suppress(OSError):  # another process was faster; a link that leads nowhere
            status = path.stat()
            silent = not silent_seconds or time.time() - status.st_mtime > silent_seconds
            if silent and stat.S_ISREG(status.st_mode):
                path.unlink()


def sweep_directories(directory: Path, pattern: str, is_abandoned: Callable[[Path], bool] = lambda _: True) -> None:
    """Removes the temporary directories that killed processes have left.

    pattern: of their names. is_abandoned: decides for each, where another process may still use one.
    """
    for path in directory.glob(pattern):
        if is_abandoned(path):
            shutil.rmtree(path, ignore_errors=True)


def fsync(path: Path) -> None:
    """Flushes a file or a directory to disk, as far as the file system can: gcsfuse and CIFS cannot for a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in CANNOT_FSYNC:
            raise
    finally:
        os.close(descriptor)


def copy_mode(source: Path, path: Path) -> None:
    """Gives `path` the mode of `source`, where there are modes: safetensors writes 0600 whatever the umask."""
    with contextlib.suppress(OSError):
        path.chmod(stat.S_IMODE(source.stat().st_mode))


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with open_regular(path) as file:
        return sha256_of(file)


def sha256_of(file: BinaryIO) -> str:
    """Hex digest of an open file, from its position to its end."""
    return _hex_digest(file, hashlib.sha256())


def md5(path: Path) -> str:
    """Hex digest of a file's bytes, for comparison with a published MD5."""
    with open_regular(path) as file:
        return md5_of(file)


def md5_of(file: BinaryIO) -> str:
    """Hex digest of an open file, from its position to its end."""
    return _hex_digest(file, hashlib.md5(usedforsecurity=False))


def _hex_digest(file: BinaryIO, digest: hashlib._Hash) -> str:
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
