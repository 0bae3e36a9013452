"""Files that the authors of a data set publish: found in a directory, or downloaded there, with their MD5."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distgan.data.remote.store import RemoteStore
from distgan.utils.errors import DataError
from distgan.utils.files import ABANDONED_SECONDS, md5, sweep


@dataclass(frozen=True)
class Archive:
    """A file that the authors of a data set publish."""

    name: str
    size: int
    """Bytes, at most."""
    md5: str


class _NotOfficial(DataError):
    """A file in the download directory is not the one that its authors publish."""


def fetch(store: RemoteStore, official: tuple[Archive, ...], directory: Path, progress: bool) -> Path:
    """Returns one of the official archives in a directory; downloads the first if none is there with its MD5.

    Raises DataError.
    """
    archive = official[0]
    path = directory / archive.name
    try:
        there = [known for known in official if (directory / known.name).is_file()]
        for known in there:
            if md5(directory / known.name) == known.md5:
                return directory / known.name
        if there:
            raise _not_official(directory / there[0].name)
        directory.mkdir(parents=True, exist_ok=True)
        sweep(directory, archive.name, ABANDONED_SECONDS)
        store.download(archive.name, path, archive.size, archive.md5, progress)
    except _NotOfficial:
        raise
    except DataError as error:
        raise DataError(
            f"{error}; try again later, or get {archive.name} another way and pass --from PATH "
            f"(or put it in {directory})"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}; give another --download-dir") from None
    return path


def _not_official(path: Path) -> _NotOfficial:
    return _NotOfficial(
        f"{path} is there, but its MD5 is not that of the official archive; use it as it is with --from {path}, or "
        "move it away to download the official one"
    )
