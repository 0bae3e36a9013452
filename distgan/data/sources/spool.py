"""Encoded images that come one after another, kept in a temporary file so that they can be read in any order."""

from __future__ import annotations

import os
import tempfile
from typing import cast

import numpy as np

from distgan.utils.counter_rng import IntArray
from distgan.utils.errors import DataError

MAX_RATIO = 1100  # bytes that a byte of a packed file can unpack to, about


class Spool:
    """A temporary file without a name, which the operating system removes however the process ends."""

    def __init__(self) -> None:
        """Raises DataError if there is no place for it."""
        try:
            self._file = tempfile.TemporaryFile(buffering=1 << 20)  # noqa: SIM115 (it lives as long as this object)
        except OSError as error:
            raise _no_space(error) from None
        self._ends = [0]
        self._at: IntArray | None = None

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return self._ends[-1]

    def add(self, data: bytes) -> None:
        """Keeps the next image. Raises DataError if there is no room."""
        try:
            self._file.write(data)
        except OSError as error:
            raise _no_space(error) from None
        self._ends.append(self._ends[-1] + len(data))

    def close(self) -> None:
        """Ends the writing; from now on images may be read. Raises DataError if there is no room."""
        try:
            self._file.flush()
        except OSError as error:
            raise _no_space(error) from None
        self._at = np.array(self._ends)

    def read(self, row: int) -> bytes:
        """The image of a row, in any thread. Raises OSError."""
        at = cast(IntArray, self._at)
        start, end = int(at[row]), int(at[row + 1])
        return os.pread(self._file.fileno(), end - start, start)


def _no_space(error: OSError) -> DataError:
    return DataError(
        f"images cannot be kept in {tempfile.gettempdir()} while they are read: {error.strerror}; set TMPDIR to a "
        "place with room"
    )
