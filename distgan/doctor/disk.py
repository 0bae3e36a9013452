"""The disk under the run directory: room to the end, rights, locks, speed. One hidden file, removed at once."""

from __future__ import annotations

import fcntl
import math
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from distgan.config.schema import Config
from distgan.doctor.finding import Finding, fail, nearest, ok, shown_bytes, shown_seconds, warn
from distgan.utils.errors import LaunchError
from distgan.utils.files import atomic_path

WHAT = "disk"
PROBE = 64 << 20  # bytes written at most
LINE = 800  # bytes of a line of metrics
SLOW = 1.0  # seconds for a small file
_hidden: set[Path] = set()


class Probe(NamedTuple):
    """What a hidden file beside the run has told."""

    place: Path
    free: int
    small: float
    """Seconds to write and rename a small file."""
    rate: float
    """Bytes per second, flushed to the disk."""
    locks: str
    """Why there are no file locks, or nothing."""


def place_of(run_dir: Path) -> Path:
    """The nearest directory above the run directory, which itself is not touched. Raises LaunchError."""
    try:
        for path in (run_dir, run_dir / "checkpoints"):
            if path.is_dir() and not os.access(path, os.W_OK | os.X_OK):
                raise PermissionError(f"{path} may not be written")
        if run_dir.exists() and not run_dir.is_dir():
            raise NotADirectoryError(f"{run_dir} is a file")
        return nearest(run_dir.absolute().parent)
    except OSError as error:
        raise LaunchError(f"run directory {run_dir} cannot be written: {error}; set run.dir") from None


@contextmanager
def hidden_file(place: Path) -> Iterator[Path]:
    """A small file there, gone afterwards. Raises LaunchError where it cannot be written."""
    path = place / f".distgan-doctor-{os.getpid()}-{time.time_ns()}"
    _hidden.add(path)
    try:
        path.write_bytes(b"distgan doctor\n")
    except OSError as error:
        path.unlink(missing_ok=True)
        raise LaunchError(f"{place} cannot be written: {error.strerror}; set run.dir") from None
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def clean() -> None:
    """Removes the hidden files, where this process is about to end in the midst of a check."""
    for path in _hidden:
        path.unlink(missing_ok=True)


def probe(run_dir: Path, size: int) -> Probe:
    """Writes at most `size` bytes beside the run directory. Raises LaunchError where that cannot be."""
    place = place_of(run_dir)
    free = shutil.disk_usage(run_dir if run_dir.is_dir() else place).free
    with hidden_file(place) as path:
        try:
            start = time.monotonic()
            with atomic_path(path) as temporary:
                temporary.write_bytes(b"distgan doctor\n")
            small = time.monotonic() - start
            amount = max(min(size, PROBE, free // 4), 1 << 20)
            block, start = os.urandom(1 << 20), time.monotonic()
            with path.open("r+b") as file:
                locks = _locks(file.fileno())
                for _ in range(amount >> 20):
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
            seconds = max(time.monotonic() - start, 1e-6)
        except OSError as error:
            raise LaunchError(f"{place} cannot be written: {error.strerror}; set run.dir") from None
    return Probe(place, free, small, (amount >> 20 << 20) / seconds, locks)


def _locks(descriptor: int) -> str:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.strerror or str(error)
    return ""


class Need(NamedTuple):
    """Bytes that a run takes from its start to its end."""

    checkpoint: int
    kept: int
    """Checkpoints at the end; while one is written, one more."""
    others: int
    """Grids of samples, metrics, the generator."""

    @property
    def total(self) -> int:
        return self.checkpoint * (self.kept + 1) + self.others


def need(config: Config, checkpoint: int, generator: int, size: int) -> Need:
    """checkpoint, generator: bytes of one; size: of the images, pixels."""
    kept, written = (
        config.checkpoint.keep_last + 1 + bool(config.evaluate.every_images),
        config.total_steps // config.checkpoint.every_steps + 1,
    )
    if every := config.checkpoint.keep_every_steps:
        kept += config.total_steps // math.lcm(every, config.checkpoint.every_steps)
    grids = config.total_steps // config.log.samples_every_steps + 1
    lines = config.total_steps // config.log.every_steps + 1
    others = (
        grids * 2 * config.log.samples * 3 * size**2
        + lines * LINE
        + generator * (2 if config.evaluate.every_images else 1)
    )
    return Need(checkpoint, min(kept, written), others)


def used(run_dir: Path) -> int:
    """Bytes that the run's checkpoints and samples take already."""
    return sum(path.stat().st_size for path in run_dir.rglob("*") if path.is_file()) if run_dir.is_dir() else 0


def findings(config: Config, found: Probe, wanted: Need, there: int, seconds_per_step: float) -> list[Finding]:
    """there: bytes that the run takes already."""
    more = max(wanted.total - there, 0)
    text = (
        f"up to {shown_bytes(more)} more to the end ({wanted.kept:,} checkpoint(s) of {shown_bytes(wanted.checkpoint)}"
        f", {shown_bytes(wanted.others)} of samples and metrics), {shown_bytes(found.free)} free in {found.place}"
    )
    room = "make room, set run.dir, or keep fewer (checkpoint.keep_last, checkpoint.keep_every_steps)"
    level = fail if more > found.free else warn if more > found.free / 2 else None
    lines = [level(WHAT, text, room) if level else ok(WHAT, text)]
    took = wanted.checkpoint / found.rate
    speed = f"a small file takes {shown_seconds(found.small)}, a checkpoint about {shown_seconds(took)}"
    between = config.checkpoint.every_steps * seconds_per_step
    if took > between:
        text = f"{speed}, but they are {shown_seconds(between)} apart: some would be left out"
        lines.append(warn("disk speed", text, "raise checkpoint.every_steps, or set run.dir to a faster disk"))
    elif found.small > SLOW:
        lines.append(warn("disk speed", speed, "set run.dir to a faster disk"))
    else:
        lines.append(ok("disk speed", speed))
    if found.locks:
        text = f"none in {found.place} ({found.locks})"
        lines.append(warn("file locks", text, "let only one training write to a run directory"))
    else:
        lines.append(ok("file locks", f"work in {found.place}"))
    return lines
