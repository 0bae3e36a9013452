"""Paths and file names as people write them: `~` is the home directory, empty text is no path, names are UTF-8."""

from __future__ import annotations

import os
from pathlib import Path

from distgan.utils.names import ALIKE, nearest_name


def user_path(text: str | os.PathLike[str]) -> Path:
    """The path that somebody wrote, with `~` and `~name` expanded; `./~` means a file of that name.

    Text that the locale's encoding lacks becomes the file name of its UTF-8 bytes. Raises ValueError, which says what
    is wrong: empty text, a home directory that does not exist, a zero byte.
    """
    written = os.fspath(text)
    if not written.strip():
        raise ValueError("it is empty; name a path, such as . for the working directory")
    if "\0" in written:
        raise ValueError("a path cannot hold the character \\x00")
    expanded = os.path.expanduser(_native(written))
    if expanded.startswith("~"):
        name = expanded.split("/")[0]
        raise ValueError(f"{name} is nobody's home directory here; write the whole path, or ./{name} for that name")
    path = Path(expanded)
    return path.absolute() if str(path).startswith("~") else path  # Path("./~") would be expanded the next time


def storable_path(text: str | os.PathLike[str]) -> Path:
    """As `user_path`, for a path that a run keeps in files. Raises ValueError for a name that is not UTF-8 as well."""
    path = user_path(text)
    if not _is_text(shown_path(path)):
        raise ValueError("its name is not UTF-8, so it cannot be stored with a run; rename it")
    return path


def nearest_beside(path: Path, least: float = ALIKE) -> Path | None:
    """The directory beside a missing one whose name is most like its; None if none is as like it as `least`, 0 to 1."""
    beside = [other.name for other in path.parent.iterdir() if other.is_dir()] if path.parent.is_dir() else []
    near = nearest_name(path.name, beside, least)
    return path.parent / near if near else None


def is_directory(path: Path) -> bool:
    """Whether a path, of a file to be written, is a directory; `.` and `/` have no name for a file."""
    return not path.name or path.is_dir()


def shown_path(path: str | os.PathLike[str]) -> str:
    """A path as text that can be stored and shown where the locale's encoding lacks its characters."""
    text = os.fspath(path)
    return text if _is_text(text) else name_as_text(text)


def name_as_text(name: str) -> str:
    """A file name as text: its bytes read as UTF-8, whatever the locale; if they are not, as the locale reads them."""
    try:
        return os.fsencode(name).decode()
    except UnicodeError:
        return name


def _native(text: str) -> str:
    """Text in the form in which Python hands out file names in this locale."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return os.fsdecode(text.encode())
    return text


def _is_text(text: str) -> bool:
    """Whether text has no bytes that were not decoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
