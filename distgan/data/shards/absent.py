"""The sentence about a directory that holds no data set: what is there instead, what is near, what to do.

Reads only names, of this directory and of the ones around it.
"""

from __future__ import annotations

import difflib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from distgan.utils.paths import shown_path

PREPARED = {".zip": "zip", ".npz": "npz", ".parquet": "hf"}  # files that `distgan prepare SOURCE` reads
MAX_NAMES = 1000  # that are looked at in a directory
MAX_NEAREST = 3  # that are named
ALIKE = 0.6  # least likeness of two names, as difflib measures it
TO_TRAIN = "train with data.prepare=shapes or cifar10 as well, which makes it there"


def describe_absence(directory: Path, manifest: str) -> str:
    """Why there is no data set in `directory`, the nearest ones, and a way that works. manifest: its file's name."""
    what, way = _what_is_there(directory, manifest)
    near = nearest_data_sets(directory, manifest)
    names = f"; nearest: {', '.join(map(shown_path, near))}" if near else ""
    return f"{what}{names}; {way}"


def nearest_data_sets(directory: Path, manifest: str) -> list[Path]:
    """Data sets at other places that somebody who named `directory` may have meant, the most alike first."""
    found: dict[str, Path] = {}
    for path in _candidates(directory):
        if _is_file(path / manifest):
            found.setdefault(os.path.realpath(path), path)
    wanted = str(directory).lower()
    nearest = sorted(found.values(), key=lambda path: -difflib.SequenceMatcher(None, wanted, str(path).lower()).ratio())
    return nearest[:MAX_NEAREST]


def beside(directory: Path) -> Path:
    """A name for a data set made of the images in `directory`, outside of it."""
    real = Path(os.path.realpath(directory))
    name = f"{real.name or 'images'}-shards"
    return directory.with_name(name) if directory.name not in ("", "..") else real.parent / name


def _what_is_there(directory: Path, manifest: str) -> tuple[str, str]:
    """What `directory` is, and what to do."""
    make = f"make one with `distgan prepare shapes|cifar10|folder|... --out {directory}`, or {TO_TRAIN}"
    if not directory.exists():
        if directory.is_symlink():
            return f"{directory} is a link that leads nowhere, so it is no data set", "correct the link"
        place = "" if directory.is_absolute() else f" in the working directory, {_working_directory()}"
        return f"{directory} does not exist{place}, so it is no data set", make
    if source := PREPARED.get(directory.suffix.lower()):
        return (
            f"{directory} is a file, not a data set",
            f"make one of it with `distgan prepare {source} {directory} --out NEW`",
        )
    if not directory.is_dir():
        return f"{directory} is a file, and a data set is a directory with a {manifest}", "name its directory"
    names = list(_names(directory))
    if not names:
        return f"{directory} is empty, so it is no data set", f"mount it if it is a mount point, or {make}"
    if tars := [name for name in names if name.endswith((".tar", ".tar.gz", ".tgz"))]:
        return (
            f"{directory} holds {len(tars):,} tar file(s) and no {manifest}",
            f"copy its {manifest} as well if distgan has made them, or make a data set of them with `distgan prepare "
            f"webdataset {directory} --out {beside(directory)}`",
        )
    return (
        f"{directory} holds no {manifest}, so it is no complete data set",
        f"make one of a folder of images with `distgan prepare folder {directory} --out {beside(directory)}`",
    )


def _candidates(directory: Path) -> Iterator[Path]:
    """Directories that somebody may have meant, with repetitions."""
    yield directory.parent
    yield from _children(directory)
    yield from _children(directory.parent)
    if not directory.is_absolute():  # another working directory was meant
        yield from (parent / directory for parent in _working_directory().parents)
    yield from _alike(directory)


def _alike(path: Path) -> Iterator[Path]:
    """Existing paths that differ from `path` in how some parts are spelled."""
    if path == path.parent:
        yield path
        return
    for parent in [path.parent] if path.parent.is_dir() else _alike(path.parent):
        names = {name.lower(): name for name in _names(parent)}
        for name in difflib.get_close_matches(path.name.lower(), names, n=MAX_NEAREST, cutoff=ALIKE):
            yield parent / names[name]


def _children(directory: Path) -> Iterator[Path]:
    return (directory / name for name in _names(directory))


def _names(directory: Path) -> Iterator[str]:
    """Names in a directory that are not hidden; none if it cannot be read."""
    try:
        with os.scandir(directory) as entries:
            yield from (entry.name for entry in itertools.islice(entries, MAX_NAMES) if not entry.name.startswith("."))
    except OSError:
        return


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except OSError:  # it was removed
        return Path()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
