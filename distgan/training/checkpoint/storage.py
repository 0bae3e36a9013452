"""Checkpoints on disk: RUN/checkpoints/step-000000500/ with state.safetensors, state.json and manifest.json.

A directory is written under a temporary name, flushed, and renamed: what has the final name is complete. The manifest's
sha256s are checked before anything is used. Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from distgan.utils.errors import CheckpointError
from distgan.utils.files import copy_mode, fsync, sha256, sweep_directories
from distgan.utils.safe_io import parse_json, printable, read_bytes, read_json

NAME = re.compile(r"^step-(\d{9,})$")
TENSORS, VALUES, MANIFEST = "state.safetensors", "state.json", "manifest.json"
FORMAT_VERSION = 1
MAX_JSON = 16 << 20  # bytes of state.json and of manifest.json, which have a few thousand


class NewerCheckpoint(CheckpointError):
    """A checkpoint of a newer distgan. It is not damaged: nothing may take its place."""


class State(NamedTuple):
    """Content of a checkpoint."""

    tensors: dict[str, Tensor]
    """Contiguous, on the CPU."""
    values: dict[str, Any]
    """Plain JSON values."""


def save(directory: Path, step: int, tensors: dict[str, Tensor], values: dict[str, Any]) -> Path:
    """Writes DIRECTORY/step-<step>, and replaces one that is already there.

    Raises CheckpointError if it cannot be written; what was there before is as it was.
    """
    final = directory / f"step-{step:09d}"
    temporary = directory / f".{final.name}.tmp"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        save_file(tensors, temporary / TENSORS)
        (temporary / VALUES).write_text(json.dumps(values, indent=1, sort_keys=True))
        copy_mode(temporary / VALUES, temporary / TENSORS)
        files = {name: sha256(temporary / name) for name in (TENSORS, VALUES)}
        (temporary / MANIFEST).write_text(json.dumps({"format_version": FORMAT_VERSION, "files": files}, indent=1))
        for path in (*temporary.iterdir(), temporary):
            fsync(path)
        if final.exists():
            shutil.rmtree(_replaced(final), ignore_errors=True)
            final.rename(_replaced(final))  # `sweep` restores it if the process is killed here
        temporary.rename(final)
        fsync(directory)
        fsync(directory.parent)
        shutil.rmtree(_replaced(final), ignore_errors=True)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        _take_back(final)
        raise CheckpointError(
            f"checkpoint {final} cannot be written: {_reason(error)}; older checkpoints are untouched"
        ) from None
    return final


def load(path: Path) -> State:
    """The content of one checkpoint directory. Raises CheckpointError if it is not complete."""
    try:
        manifest = read_json(path / MANIFEST, MAX_JSON)
        version, files = manifest["format_version"], dict(manifest["files"])
        if type(version) is int and version > FORMAT_VERSION:
            raise NewerCheckpoint(
                f"{path} has format {version}, this distgan reads format {FORMAT_VERSION}: upgrade distgan, or start a "
                "new run with run.name=NAME"
            )
        if version != FORMAT_VERSION:
            raise ValueError(f"format {version!r} does not exist")
        text = read_bytes(path / VALUES, MAX_JSON)
        for name, found in ((VALUES, hashlib.sha256(text).hexdigest()), (TENSORS, sha256(path / TENSORS))):
            if found != files[name]:
                raise CheckpointError(f"{path}/{name} is damaged: its sha256 is not the one in {MANIFEST}")
        values = parse_json(text)
        if not isinstance(values, dict):
            raise ValueError(f"{VALUES} holds no names and values")
        return State(load_file(path / TENSORS), values)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is not a complete checkpoint: {Path(error.filename).name} is missing") from None
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged: {printable(_reason(error))}") from None


def steps(directory: Path) -> list[int]:
    """Steps of the checkpoints in a directory, ascending; temporary and foreign names are not counted."""
    if not directory.is_dir():
        return []
    return sorted(int(match[1]) for entry in directory.iterdir() if (match := NAME.match(entry.name)))


def newest(directory: Path, say: Callable[[str], None], not_after: int | None = None) -> Path | None:
    """The newest complete checkpoint, or None where there is none. Raises NewerCheckpoint.

    say: is called with a sentence for each damaged one; not_after: only checkpoints of this step or before.
    """
    for step in reversed(steps(directory)):
        if not_after is not None and step > not_after:
            continue
        path = directory / f"step-{step:09d}"
        try:
            load(path)
        except NewerCheckpoint:
            raise
        except CheckpointError as error:
            say(f"{error}; looking for the one before it")
        else:
            return path
    return None


def rotate(
    directory: Path,
    written: int,
    keep_last: int,
    keep_every_steps: int | None,
    healthy_step: int,
    best_step: int | None = None,
) -> None:
    """Removes old checkpoints. Those of steps after `written`, the last, are damaged: they stay, and take no place.

    Kept are the newest `keep_last`, the multiples of `keep_every_steps`, that of `best_step`, and the newest of
    `healthy_step` or before, which a rollback may need.
    """
    there = [step for step in steps(directory) if step <= written]
    needed = {best_step, max((step for step in there if step <= healthy_step), default=None)}
    for step in there[:-keep_last]:
        if step not in needed and (keep_every_steps is None or step % keep_every_steps):
            _remove(directory / f"step-{step:09d}")


def discard(directory: Path, after: int) -> None:
    """Removes the checkpoints of later steps, newest first, after a rollback."""
    for step in reversed(steps(directory)):
        if step > after:
            _remove(directory / f"step-{step:09d}")


def sweep(directory: Path) -> None:
    """Cleans up after a killed process: removes parts of checkpoints, restores one that was about to be replaced."""
    for replaced in directory.glob(".step-*.replaced"):
        _take_back(directory / replaced.name.removeprefix(".").removesuffix(".replaced"))
    sweep_directories(directory, ".step-*")


def _remove(path: Path) -> None:
    """Removes a checkpoint such that a kill in between leaves no part of it under its name."""
    doomed = path.with_name(f".{path.name}.old")
    shutil.rmtree(doomed, ignore_errors=True)
    with contextlib.suppress(OSError):  # tried again after the next checkpoint
        path.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _replaced(path: Path) -> Path:
    return path.with_name(f".{path.name}.replaced")


def _take_back(path: Path) -> None:
    """Restores a checkpoint that was about to be replaced, if the new one is not there."""
    with contextlib.suppress(OSError):
        if not path.exists():
            _replaced(path).rename(path)


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def factor(value: Any) -> float | int:
    """The value of a checkpoint as a finite number of 0 or more. Raises ValueError if it is none."""
    if type(value) not in (int, float) or not 0 <= value < math.inf:
        raise ValueError("a factor must be a number of 0 or more")
    return value  # type: ignore[no-any-return]


def counter(value: Any) -> int:
    """The value of a checkpoint as a count. Raises ValueError if it is none."""
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError("a counter must be a whole number of 0 or more")
    return value


def finite(value: Any) -> float | None:
    """The value of a checkpoint as a finite number; None for anything else."""
    return float(value) if type(value) in (int, float) and math.isfinite(value) else None
