"""The folders and files of a directory or an archive, by name: what layouts and label tables are found in.

No hidden files, none of IGNORED_NAMES. A directory is listed where it is looked at; an archive knows its names.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from distgan.utils.errors import DataError
from distgan.utils.paths import nearest_beside
from distgan.utils.safe_io import read_bytes

IGNORED_NAMES = ("thumbs.db", "desktop.ini", "__macosx")
OTHER_SOURCES = {
    ".zip": "zip", ".tar": "webdataset", ".tgz": "webdataset", ".parquet": "hf", ".npz": "npz", "-ubyte": "mnist",
    "data_batch_1": "cifar10", "data_batch_1.bin": "cifar10",
}  # fmt: skip
"""By the ending of a file's name."""
MAX_LINKS = 10_000  # linked folders below a directory
MAX_DEPTH = 64  # folders within one another


class Tree:
    """A folder, as messages show it (`path`), and below its top (`name`, empty for the top itself)."""

    path: Path
    name: str

    def __init__(self, path: Path, name: str = "") -> None:
        self.path, self.name = path, name

    @cached_property
    def folders(self) -> dict[str, Tree]:
        """The folders in it, sorted by name. Raises DataError."""
        return {}

    @cached_property
    def files(self) -> dict[str, str]:
        """The files in it, sorted by name: each one's name below the top. Raises DataError."""
        return {}

    def mark(self, name: str) -> str:
        """What changes if the content of a file in this folder does, as far as can be seen without reading it."""
        raise NotImplementedError

    def written(self, name: str) -> float:
        """When a file in this folder was written, seconds since 1970; 0 where `mark` tells its content."""
        return 0.0

    def read(self, name: str, max_bytes: int) -> bytes:
        """The content of a file in this folder. Raises OSError; ValueError for a larger one."""
        raise NotImplementedError

    def walk(self) -> Iterator[tuple[Tree, str]]:
        """Yields all files below, by folder and name: sorted by name, folders among files."""
        for name in sorted((*self.folders, *self.files), key=os.fsencode):
            if name in self.folders:
                yield from self.folders[name].walk()
            else:
                yield self, name

    def below(self, name: str) -> str:
        """The name below the top of something in this folder."""
        return f"{self.name}/{name}" if self.name else name

    def __str__(self) -> str:
        return f"{self.path}"


class Directory(Tree):
    """A directory of the file system. Links to folders are followed, unless they lead back to a folder above them."""

    def __init__(self, path: Path, name: str = "", above: Directory | None = None) -> None:
        super().__init__(path, name)
        self.above = above
        self.links: list[str] = [] if above is None else above.links
        """The linked folders that were met, below the top."""

    @cached_property
    def _entries(self) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.path) as entries:
                visible = [e for e in entries if not e.name.startswith(".") and e.name.lower() not in IGNORED_NAMES]
        except NotADirectoryError:
            raise DataError(
                f"{self.path} is a file, not a directory of images{other_source([self.path.name])}"
            ) from None
        except OSError as error:
            near = None if os.path.lexists(self.path) else nearest_beside(Path(self.path))
            hint = f"; nearest: {near}" if near else ""
            raise DataError(f"{self.path} cannot be read: {error.strerror}{hint}") from None
        return sorted(visible, key=lambda entry: os.fsencode(entry.name))

    @cached_property
    def folders(self) -> dict[str, Tree]:
        return {entry.name: self._folder(entry) for entry in self._entries if _is_folder(entry)}

    @cached_property
    def files(self) -> dict[str, str]:
        return {name: self.below(name) for name in self._files}

    @cached_property
    def _files(self) -> dict[str, os.DirEntry[str]]:
        return {entry.name: entry for entry in self._entries if not _is_folder(entry)}

    def mark(self, name: str) -> str:
        try:
            return f"{self._files[name].stat().st_size}"
        except OSError:  # a link to nothing or to itself; an error when it is read
            return "0"

    def written(self, name: str) -> float:
        try:
            return self._files[name].stat().st_mtime
        except OSError:
            return 0.0

    def read(self, name: str, max_bytes: int) -> bytes:
        return read_bytes(self.path / name, max_bytes)

    def _folder(self, entry: os.DirEntry[str]) -> Directory:
        folder = Directory(self.path / entry.name, self.below(entry.name), self)
        if folder.name.count("/") >= MAX_DEPTH:
            raise DataError(f"{self._with_above()[-1].path} holds more than {MAX_DEPTH} folders within one another")
        if entry.is_symlink():
            self._check_link(entry)
            self.links.append(folder.name)
        return folder

    def _check_link(self, entry: os.DirEntry[str]) -> None:
        target, above = entry.stat(), self._with_above()
        if any(os.path.samestat(target, os.stat(folder.path)) for folder in above):
            raise DataError(f"{entry.path} is a link to a folder above it, which would never end; remove it")
        if len(self.links) >= MAX_LINKS:
            raise DataError(f"{above[-1].path} holds more than {MAX_LINKS:,} linked folders; put the folders there")

    def _with_above(self) -> list[Directory]:
        """This directory and all above it, up to the top."""
        found, at = list[Directory](), self
        while True:
            found.append(at)
            if at.above is None:
                return found
            at = at.above


def other_source(names: Iterable[str]) -> str:
    """`; read it with ...`: the source for files of these names, if there is one."""
    for name in names:
        for ending, source in OTHER_SOURCES.items():
            if name.lower().removesuffix(".gz").endswith(ending):
                return f"; read it with `distgan prepare {source}`"
    return ""


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a directory, or a link to one; a link to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False
