"""`data.path` in, the place of the shards and their manifest out: distgan's own, or those of another maker.

Shards without a manifest are looked through once. What was found is kept in the user's cache, and used again while the
files have the same sizes and times; without a cache each start looks again, with the same result.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
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
from distgan.data.remote.store import Location, NotThere, RemoteStore
from distgan.data.shards.index import ForeignOptions, index_shards
from distgan.data.shards.manifest import MANIFEST, MAX_MANIFEST_BYTES, SHARD_NAME, Manifest, load_manifest
from distgan.utils.errors import DataError
from distgan.utils.files import atomic_path
from distgan.utils.log import log
from distgan.utils.safe_io import printable, read_json
from distgan.utils.system import cache_home

TAR = (".tar", ".tar.gz", ".tgz")
MAX_SHARDS = 1_000_000
VERSION = 1  # of the kept manifests: increased when they change


def open_data_set(config: DataConfig, progress: bool = False) -> tuple[Location, Manifest]:
    """The place of a data set and its manifest. Raises DataError."""
    named = named_shards(f"{config.path}")
    if named is None:
        location = location_of(config, config.path)
        if manifest := own_manifest(location):
            check_own(config, manifest)
            return location, manifest
        names = shards_in(location)
    else:
        location, names = location_of(config, named[0]), named[1]
    for name in names:
        if not re.fullmatch(SHARD_NAME, name):
            raise DataError(
                f"{location}/{printable(name)} must be renamed: a shard's name has letters, digits and ._ =+-"
            )
    options = ForeignOptions(config.size, config.fit, config.channels or "rgb", config.label)
    return location, kept_manifest(location, names, options, config.cache, progress)


def location_of(config: DataConfig, path: Path | str) -> Location:
    """The directory at a path, or the store that reads its URL."""
    if isinstance(path, Path) or "://" not in path:
        return Path(path)
    return RemoteStore(path, config.tries, config.stall_seconds, config.cache)


def named_shards(path: str) -> tuple[str, tuple[str, ...]] | None:
    """The directory and the names that a list in braces (DIR/{000..009}.tar) or a single tar file stands for.

    None for any other path. Raises DataError for shards in several directories.
    """
    if ("{" not in path and not path.endswith(TAR)) or ("://" not in path and os.path.isdir(path)):
        return None
    from braceexpand import braceexpand

    try:
        paths = list(itertools.islice(braceexpand(path), MAX_SHARDS))
    except ValueError:
        raise DataError(f"{path}: its braces do not close; a list of shards reads DIR/{{000..009}}.tar") from None
    heads = dict.fromkeys(each.rpartition("/")[0] for each in paths)
    if len(heads) > 1:
        shown = " and ".join(list(heads)[:2])
        raise DataError(f"{path}: its shards lie in several directories ({shown}); put them into one")
    return next(iter(heads)) or ".", tuple(dict.fromkeys(each.rpartition("/")[2] for each in paths))


def are_there(path: Path) -> bool:
    """Whether a local path names tar files: a directory of them, one of them, or DIR/{000..009}.tar."""
    named = named_shards(f"{path}")
    if named is None:
        return path.is_dir() and any(entry.name.endswith(TAR) for entry in os.scandir(path))
    return all((Path(named[0]) / name).is_file() for name in named[1])


def own_manifest(location: Location) -> Manifest | None:
    """The manifest that lies beside the shards; None if there is none. Raises DataError."""
    if isinstance(location, Path):
        return load_manifest(location) if (location / MANIFEST).exists() else None
    try:
        return load_manifest(location)
    except NotThere as error:
        if location.can_list:
            return None
        raise DataError(
            f"{error}; a web server does not list its files: name shards of another maker, {location}/{{000..009}}.tar"
        ) from None


def shards_in(location: Location) -> tuple[str, ...]:
    """The names of the tar files in a directory. Raises DataError if there is none."""
    if isinstance(location, Path):
        names = [entry.name for entry in os.scandir(location)] if location.is_dir() else []
    else:
        names = location.names()
    tars = tuple(sorted(name for name in names if name.endswith(TAR) and not name.startswith(".")))
    if not tars and isinstance(location, Path):
        load_manifest(location)  # says what is there instead
    if not tars:
        raise DataError(f"{location} holds neither {MANIFEST} nor tar files; name the directory of the shards")
    return tars


def check_own(config: DataConfig, manifest: Manifest) -> None:
    """Raises DataError if a data set is to be read as another one than was made."""
    made = {"size": manifest.size, "channels": "gray" if manifest.channels == 1 else "rgb"}
    for name, value in made.items():
        if (asked := getattr(config, name)) not in (None, value):
            raise DataError(
                f"data.{name}={asked}: {config.path} was made by `distgan prepare` with {name} {value}; leave "
                f"data.{name} out, or make it again with --{name} {asked}"
            )


def kept_manifest(
    location: Location, names: Sequence[str], options: ForeignOptions, cache: Path | None, progress: bool
) -> Manifest:
    """The manifest of shards of another maker, from the last look or from a new one. Raises DataError."""
    directory = cache if cache is not None and not isinstance(location, Path) else _index_directory()
    if directory is None:
        return index_shards(location, names, options, progress)
    place = os.path.realpath(location) if isinstance(location, Path) else f"{location}"
    key = hashlib.sha256(json.dumps([VERSION, place, list(names), asdict(options)]).encode()).hexdigest()[:32]
    path = directory / f"index-{key}.json"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with locked(directory / f".index-{key[:2]}.lock"):
            stamps = _stamps(location, names)
            if manifest := _load(path, stamps):
                return manifest
            manifest = index_shards(location, names, options, progress)
            _store(path, manifest, stamps)
            return manifest
    except OSError as error:
        log.warning("%s cannot be used (%s); each start looks through the shards again", directory, error.strerror)
        return index_shards(location, names, options, progress)


def _index_directory() -> Path | None:
    home = cache_home()
    return home and home / "distgan" / "shards"


def _stamps(location: Location, names: Sequence[str]) -> dict[str, list[int]]:
    """Bytes and time of each local file; nothing for a server, whose files have a sha256."""
    stamps: dict[str, list[int]] = {}
    if not isinstance(location, Path):
        return stamps
    for name in names:
        with contextlib.suppress(OSError):  # reading it says what is wrong
            status = os.stat(location / name)
            stamps[name] = [status.st_size, status.st_mtime_ns]
    return stamps


def _load(path: Path, stamps: dict[str, list[int]]) -> Manifest | None:
    """What was kept for files with these stamps; None for nothing, or what cannot be used."""
    try:
        kept: dict[str, Any] = read_json(path, MAX_MANIFEST_BYTES)
        return Manifest.model_validate(kept["manifest"]) if kept["stamps"] == stamps else None
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None


def _store(path: Path, manifest: Manifest, stamps: dict[str, list[int]]) -> None:
    content = {"stamps": stamps, "manifest": manifest.model_dump(mode="json")}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")
