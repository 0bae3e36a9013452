"""The manifest of shards that have none: from the first look at them, which is kept, or from a new one.

Kept in the user's cache, and used again while the files have the same sizes and times; without a cache each start looks
again, with the same result.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from distgan.config.schema import DataConfig
from distgan.data.remote.cache import locked
from distgan.data.remote.store import Location
from distgan.data.shards.index import ForeignOptions, index_shards
from distgan.data.shards.manifest import MAX_SHARD_NAME, SHARD_NAME, Manifest
from distgan.utils.errors import DataError
from distgan.utils.files import atomic_path
from distgan.utils.log import log
from distgan.utils.safe_io import printable, read_json
from distgan.utils.system import cache_home

MAX_KEPT_BYTES = 1 << 30
VERSION = 1  # of what is kept: increased when it changes
Stamps = dict[str, list[int]]
"""Bytes and time of each local file, by name; of a server's files nothing is kept but their sha256, in the manifest."""


def first_look(config: DataConfig, location: Location, names: Sequence[str], progress: bool, notes: bool) -> Manifest:
    """The manifest of tar files. progress, notes: see `open_data_set`. Raises DataError."""
    for name in names:
        if len(name) > MAX_SHARD_NAME or not re.fullmatch(SHARD_NAME, name):
            rule = f"a shard's name has up to {MAX_SHARD_NAME} letters, digits and ._ =+-, and ends in .tar"
            raise DataError(f"{location}/{printable(name)}: rename it; {rule}")
    options = ForeignOptions(config.size, config.fit, config.channels or "rgb", config.label)
    manifest, sentences = _kept(location, names, options, progress)
    for note in sentences if notes else ():
        log.info("%s: %s", location, note)
    return manifest


def index_directory() -> Path | None:
    """Where first looks are kept: XDG_CACHE_HOME/distgan/shards, or ~/.cache/distgan/shards; None without a home."""
    home = cache_home()
    return home and home / "distgan" / "shards"


def _kept(
    location: Location, names: Sequence[str], options: ForeignOptions, progress: bool
) -> tuple[Manifest, list[str]]:
    directory = index_directory()
    place = os.path.realpath(location) if isinstance(location, Path) else f"{location}"
    key = hashlib.sha256(json.dumps([VERSION, place, list(names), asdict(options)]).encode()).hexdigest()[:32]
    try:
        if directory is None:
            raise OSError(0, "there is no home directory; set XDG_CACHE_HOME")
        directory.mkdir(parents=True, exist_ok=True)
        lock = locked(directory / f".index-{key[:2]}.lock")
        with lock:  # one process of a machine looks, the others wait
            return _load_or_look(directory / f"index-{key}.json", location, names, options, progress)
    except OSError as error:
        log.warning("%s cannot be used (%s); each start looks at the shards again", directory or "~", error.strerror)
        return index_shards(location, names, options, progress)


def _load_or_look(
    path: Path, location: Location, names: Sequence[str], options: ForeignOptions, progress: bool
) -> tuple[Manifest, list[str]]:
    stamps = _stamps(location, names)
    if kept := _load(path, stamps):
        return kept
    manifest, notes = index_shards(location, names, options, progress)
    content = {"stamps": stamps, "notes": notes, "manifest": manifest.model_dump(mode="json")}
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")
    except OSError as error:
        log.warning("%s cannot be written (%s); the next start looks at the shards again", path, error.strerror)
    return manifest, notes


def _stamps(location: Location, names: Sequence[str]) -> Stamps:
    stamps: Stamps = {}
    if not isinstance(location, Path):
        return stamps
    for name in names:
        with contextlib.suppress(OSError):  # reading it says what is wrong
            status = os.stat(location / name)
            stamps[name] = [status.st_size, status.st_mtime_ns]
    return stamps


def _load(path: Path, stamps: Stamps) -> tuple[Manifest, list[str]] | None:
    """What was kept for files with these stamps; None for nothing, or what cannot be used."""
    try:
        kept: dict[str, Any] = read_json(path, MAX_KEPT_BYTES)
        found = Manifest.model_validate(kept["manifest"]), [str(note) for note in kept["notes"]]
        return found if kept["stamps"] == stamps else None
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None
