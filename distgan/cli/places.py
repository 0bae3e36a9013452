"""Where a command writes its file: what is wrong there is told before the long work, and nothing else is lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from distgan.utils.errors import QualityError


def check_place(path: Path, suffix: str, load: Callable[[Path], object]) -> None:
    """Makes the directory of a file. Raises QualityError if the file cannot be written, or another kind would be lost.

    suffix: of its name. load: reads a file of this kind, which may be replaced; raises QualityError for another.
    """
    if path.suffix != suffix:
        raise QualityError(f"--out {path} must end in {suffix}; nearest: {path.with_suffix(suffix)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise QualityError(f"{path} cannot be written: {error.strerror or error}") from None
    if not os.access(path.parent, os.W_OK):
        raise QualityError(f"{path} cannot be written: its directory is read-only; name another file")
    if path.exists():
        try:
            load(path)
        except QualityError as error:
            raise QualityError(f"--out {path} would replace another file: {error}; name another file") from None
