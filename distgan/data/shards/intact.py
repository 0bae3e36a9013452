"""Whether an open file is what the manifest says: size and sha256, once per process for a file that does not change."""

from __future__ import annotations

import os
from typing import BinaryIO

from distgan.utils.files import sha256_of

_known: set[tuple[int, int, int, int, str]] = set()  # files that were whole, as they were then


def is_whole(file: BinaryIO, size: int, sha256: str) -> bool:
    """file: open at its start, and is so afterwards."""
    status = os.fstat(file.fileno())
    if status.st_size != size:
        return False
    seen = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, sha256)
    if seen not in _known:
        found = sha256_of(file)
        file.seek(0)
        if found != sha256:
            return False
        _known.add(seen)
    return True
