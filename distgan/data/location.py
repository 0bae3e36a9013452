"""`data.path` in, the place of the shards and their manifest out: distgan's own, or those of another maker."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from distgan.config.schema import DataConfig
from distgan.data.first_look import first_look
from distgan.data.remote.store import Location, NotThere, RemoteStore
from distgan.data.shards.manifest import MANIFEST, Manifest, load_manifest
from distgan.utils.errors import DataError

TAR = (".tar", ".tar.gz", ".tgz")
MAX_SHARDS = 1_000_000


def open_data_set(config: DataConfig, progress: bool = False, notes: bool = False) -> tuple[Location, Manifest]:
    """The place of a data set and its manifest. Raises DataError.

    progress: whether to show that of a first look; notes: whether to say what is taken of shards of other makers.
    """
    named = named_shards(f"{config.path}")
    location = location_of(config, named[0] if named else config.path)
    manifest = manifest_beside(location, named is None)
    if named and (manifest is None or not set(named[1]) <= {shard.name for shard in manifest.shards}):
        return location, first_look(config, location, named[1], progress, notes)
    if manifest is None:
        return location, first_look(config, location, shards_in(location), progress, notes)
    check_own(config, manifest)
    if named:
        some = tuple(shard for shard in manifest.shards if shard.name in named[1])
        manifest = manifest.model_copy(update={"shards": some})
    return location, manifest


def location_of(config: DataConfig, path: Path | str) -> Location:
    """The directory at a path, or the store that reads its URL."""
    if isinstance(path, Path) or "://" not in path:
        return Path(path)
    return RemoteStore(path, config.tries, config.stall_seconds, config.cache)


def named_shards(path: str) -> tuple[str, tuple[str, ...]] | None:
    """The directory and the names that a list in braces (DIR/{000..009}.tar) or a single tar file stands for.

    None for any other path. Raises DataError for a list that is none, or too long.
    """
    if ("{" not in path and not path.endswith(TAR)) or ("://" not in path and os.path.isdir(path)):
        return None
    directory, _, pattern = path.rpartition("/")
    if "*" in pattern:
        raise DataError(f"{path}: * is not expanded; give the directory {directory or '.'}, or DIR/{{000..009}}.tar")
    if "{" in directory:
        raise DataError(f"{path}: braces stand for the names of shards in one directory, as in DIR/{{000..009}}.tar")
    return directory or ("/" if path.startswith("/") else "."), tuple(dict.fromkeys(_expanded(path, pattern)))


def _expanded(path: str, pattern: str) -> Iterator[str]:
    """The names that a pattern with braces stands for. Raises DataError."""
    parts = re.split(r"\{([^{}]*)\}", pattern)
    if any(sign in part for part in parts for sign in "{}"):
        raise DataError(f"{path}: its braces do not close; a list of shards reads DIR/{{000..009}}.tar")
    counts, choices = zip(
        *(_choices(part) if index % 2 else (1, [part]) for index, part in enumerate(parts)), strict=True
    )
    if math.prod(counts) > MAX_SHARDS:
        raise DataError(f"{path}: it stands for more than {MAX_SHARDS:,} shards")
    return map("".join, itertools.product(*choices))


def _choices(text: str) -> tuple[int, Iterable[str]]:
    """What stands between braces, and how many that is: 000..009, or a,b,c."""
    if not (bounds := re.fullmatch(r"(\d{1,12})\.\.(\d{1,12})", text)):
        names = text.split(",")
        return len(names), names
    first, last = map(int, bounds.groups())
    digits = len(bounds[1]) if bounds[1].startswith("0") else 0
    numbers = range(first, last + 1) if first <= last else range(first, last - 1, -1)
    return len(numbers), (f"{number:0{digits}d}" for number in numbers)


def are_there(path: Path) -> bool:
    """Whether a local path names tar files: a directory of them, one of them, or DIR/{000..009}.tar.

    Raises DataError if it cannot be read.
    """
    named = named_shards(f"{path}")
    with _reading(path):
        if named is None:
            return path.is_dir() and any(name.endswith(TAR) for name in os.listdir(path))
        return all((Path(named[0]) / name).is_file() for name in named[1])


def manifest_beside(location: Location, is_all: bool) -> Manifest | None:
    """The manifest that distgan has put beside the shards; None if there is none.

    is_all: whether all shards there are meant, which a server may have to list. Raises DataError.
    """
    try:
        if isinstance(location, Path):
            with _reading(location):
                if not (location / MANIFEST).exists():
                    return None
        return load_manifest(location)
    except NotThere as error:
        if not is_all or location.can_list:  # type: ignore[union-attr]
            return None
        raise DataError(
            f"{error}; a web server does not list its files: name shards of another maker, {location}/{{000..009}}.tar"
        ) from None
    except DataError:
        if is_all:
            raise
        return None  # of another program


def shards_in(location: Location) -> tuple[str, ...]:
    """The names of the tar files in a directory. Raises DataError if there is none, or it cannot be read."""
    if isinstance(location, Path):
        with _reading(location):
            names = os.listdir(location) if location.is_dir() else []
    else:
        names = location.names()
    tars = tuple(sorted(name for name in names if name.endswith(TAR) and not name.startswith(".")))
    if not tars and isinstance(location, Path):
        load_manifest(location)  # says what is there instead
    if not tars:
        raise DataError(f"{location} holds neither {MANIFEST} nor tar files; name the directory of the shards")
    return tars


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raises DataError if the directory cannot be read."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def check_own(config: DataConfig, manifest: Manifest) -> None:
    """Raises DataError if a data set is to be read as another one than was made."""
    if config.label not in ("auto", "cls"):
        raise DataError(
            f"data.label={config.label}: {config.path} was made by `distgan prepare`, which chose the classes; leave "
            "data.label out"
        )
    if config.fit != "crop":
        raise DataError(
            f"data.fit={config.fit}: {config.path} was made by `distgan prepare`, which brought its images to their "
            f"size; leave data.fit out, or make it again with --fit {config.fit}"
        )
    made = {"size": manifest.size, "channels": "gray" if manifest.channels == 1 else "rgb"}
    for name, value in made.items():
        if (asked := getattr(config, name)) not in (None, value):
            raise DataError(
                f"data.{name}={asked}: {config.path} was made by `distgan prepare` with {name} {value}; leave "
                f"data.{name} out, or make it again with --{name} {asked}"
            )
