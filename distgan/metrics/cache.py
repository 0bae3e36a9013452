"""A cache of arrays that take long to compute: one file per key, used only if its digest fits the key and the arrays.

In: a key (plain JSON values that determine the arrays) and arrays. Out: the same arrays, or None if they must be
computed. The cache never fails: unreadable arrays are computed again, a failed write is a warning.
"""

from __future__ import annotations

import functools
import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from distgan.utils.files import atomic_path
from distgan.utils.log import log
from distgan.utils.safe_io import open_regular
from distgan.utils.system import cache_home

Key = Mapping[str, object]
Arrays = dict[str, np.ndarray]


def cache_directory() -> Path | None:
    """XDG_CACHE_HOME/distgan/quality, or ~/.cache/distgan/quality; None for a user without a home directory."""
    home = cache_home()
    return home and home / "distgan" / "quality"


def load(key: Key) -> Arrays | None:
    """The arrays stored under the key, or None. Warns about a file that is damaged or belongs to another key."""
    path = _path(key)
    if path is None:
        return None
    try:
        with open_regular(path) as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, NotImplementedError):
        arrays = {}
    digest = arrays.pop("digest", None)
    if digest is None or digest.tobytes() != _digest(key, arrays):
        log.warning("%s is damaged or belongs to another key; it is computed again", path)
        return None
    return arrays


def store(key: Key, arrays: Arrays) -> None:
    """Stores arrays under the key, atomically. Warns if they cannot be written."""
    path = _path(key)
    if path is None:
        _say_once("there is no home directory, so nothing is cached; set XDG_CACHE_HOME to a directory")
        return
    digest = np.frombuffer(_digest(key, arrays), dtype=np.uint8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, digest=digest, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        log.warning(
            "%s", f"{path} cannot be written ({error.strerror or error}); the next evaluation computes it again"
        )


def numbers(values: Mapping[str, float]) -> Arrays:
    """Numbers as arrays, for `store`."""
    return {name: np.array(value) for name, value in values.items()}


@functools.cache
def _say_once(sentence: str) -> None:
    log.warning("%s", sentence)


def _path(key: Key) -> Path | None:
    directory = cache_directory()
    return directory and directory / f"{hashlib.sha256(_text(key)).hexdigest()[:32]}.npz"


def _text(key: Key) -> bytes:
    return json.dumps(key, sort_keys=True).encode()


def _digest(key: Key, arrays: Mapping[str, np.ndarray]) -> bytes:
    """sha256 over the key and, by name, each array's type, shape and bytes."""
    digest = hashlib.sha256(_text(key))
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.data if array.size else b"")
    return digest.digest()
