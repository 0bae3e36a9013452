"""Reads the files of a run directory that may be a stranger's, and that a training may be writing to.

Nothing outside of the directory is read: a link is refused. `LineTail` reads what was added to a file of JSON lines.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import BinaryIO

from distgan.training.tracking.jsonl import MAX_LINE, Row, parse_rows
from distgan.utils.safe_io import open_regular

MAX_READ = 16 << 20  # bytes of a file of lines that are read at once
MARK = 256  # bytes before the place where reading goes on, by which a file that was written again is told


def own_file(run_dir: Path, name: str) -> Path:
    """RUN/name. Raises OSError if it, or a folder between, is a link: what that leads to is not the run's."""
    path = run_dir / name
    for part in (path, *list(path.parents)[: len(Path(name).parts) - 1]):
        if part.is_symlink():
            raise OSError(errno.ELOOP, f"{part.name} is a link, which is not followed", str(part))
    return path


class LineTail:
    """The rows of RUN/name, and later those that were added."""

    def __init__(self, run_dir: Path, name: str) -> None:
        self._run_dir, self._name = run_dir, name
        self._place, self._mark = 0, b""
        self.behind = False
        """Whether the file holds more than the last call has read."""

    def read(self) -> tuple[list[Row], bool]:
        """The rows since the last call, of MAX_READ bytes at most, and whether they are the file's first ones again: a
        training that goes back drops lines. Raises OSError; a file that is gone is read from its start later.
        """
        try:
            path = own_file(self._run_dir, self._name)
            with open_regular(path) as file:
                anew = self._place > 0 and not self._goes_on(file)
                if anew:
                    self._place, self._mark = 0, b""
                return list(parse_rows(self._lines(file))), anew
        except OSError:
            self._place, self._mark, self.behind = 0, b"", False
            raise

    def _goes_on(self, file: BinaryIO) -> bool:
        file.seek(self._place - len(self._mark))
        return file.read(len(self._mark)) == self._mark

    def _lines(self, file: BinaryIO) -> list[bytes]:
        """The complete lines from here on. Half a line waits for its rest, but not one that is too long."""
        file.seek(self._place)
        read = file.read(MAX_READ)
        end = read.rfind(b"\n") + 1
        if not end and len(read) > MAX_LINE:
            end = len(read)
        if end:
            self._place += end
            self._mark = (self._mark + read[:end])[-MARK:]
        self.behind = len(read) == MAX_READ
        return read[:end].splitlines()
