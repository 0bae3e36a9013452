"""The disk under the run directory: space until the end, permissions, locks, speed.

In: a configuration and the bytes of a checkpoint. Out: check results. One hidden file is written, and removed at once.
"""

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
from distgan.doctor.check_result import (
    CheckResult,
    existing_directory,
    fail,
    format_bytes,
    format_seconds,
    ok,
    warn,
)
from distgan.utils.errors import LaunchError
from distgan.utils.files import atomic_path, fsync

MAX_PROBE = 64 << 20  # bytes written
LINE_BYTES = 800  # of a line of metrics
SLOW = 1.0  # seconds for a small file
CONTENT = b"distgan doctor\n"
_hidden: set[Path] = set()


class Probe(NamedTuple):
    """The measurements with a hidden file beside the run directory."""

    directory: Path
    """Where the file was written."""
    free: int
    """Bytes."""
    small: float
    """Seconds to write and rename a small file."""
    rate: float
    """Bytes per second, flushed to the disk."""
    lock_error: str
    """Why a file cannot be locked there, or nothing."""


def writable_directory(run_dir: Path) -> Path:
    """The nearest existing directory above the run directory. Raises LaunchError if the run cannot be written."""
    try:
        for path in (run_dir, run_dir / "checkpoints"):
            if path.is_dir() and not os.access(path, os.W_OK | os.X_OK):
                raise PermissionError(f"{path} may not be written")
        if run_dir.exists() and not run_dir.is_dir():
            raise NotADirectoryError(f"{run_dir} is a file")
        return existing_directory(run_dir.absolute().parent)
    except OSError as error:
        raise LaunchError(f"run directory {run_dir} cannot be written: {error}; set run.dir") from None


@contextmanager
def hidden_file(directory: Path) -> Iterator[Path]:
    """A small file in a directory, removed at the end. Raises LaunchError if it cannot be written."""
    path = directory / f".distgan-doctor-{os.getpid()}-{time.time_ns()}"
    _hidden.add(path)
    try:
        path.write_bytes(CONTENT)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise LaunchError(f"{directory} cannot be written: {error.strerror}; set run.dir") from None
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def remove_hidden_files() -> None:
    """Removes the hidden files of this process, which is about to end in the middle of a check."""
    for path in _hidden:
        path.unlink(missing_ok=True)


def probe(run_dir: Path, size: int) -> Probe:
    """Writes `size` bytes, MAX_PROBE at most, beside the run directory. Raises LaunchError if it cannot."""
    directory = writable_directory(run_dir)
    free = shutil.disk_usage(run_dir if run_dir.is_dir() else directory).free
    with hidden_file(directory) as path:
        try:
            start = time.monotonic()
            with atomic_path(path) as temporary:
                temporary.write_bytes(CONTENT)
            small = time.monotonic() - start
            blocks = max(min(size, MAX_PROBE, free // 4), 1 << 20) >> 20
            block, start = os.urandom(1 << 20), time.monotonic()
            with path.open("r+b") as file:
                lock_error = _lock_error(file.fileno())
                for _ in range(blocks):
                    file.write(block)
                file.flush()
                fsync(path)
            seconds = max(time.monotonic() - start, 1e-6)
        except OSError as error:
            raise LaunchError(f"{directory} cannot be written: {error.strerror}; set run.dir") from None
    return Probe(directory, free, small, (blocks << 20) / seconds, lock_error)


def _lock_error(descriptor: int) -> str:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.strerror or str(error)
    return ""


class Need(NamedTuple):
    """The space that a run takes from its start to its end."""

    checkpoint: int
    """Bytes of one."""
    kept: int
    """Checkpoints at the end; there is one more while it is written."""
    others: int
    """Bytes of sample grids, metrics and generators."""

    @property
    def total(self) -> int:
        """Bytes at the peak."""
        return self.checkpoint * (self.kept + 1) + self.others


def estimate_need(config: Config, checkpoint: int, generator: int, image: int) -> Need:
    """checkpoint, generator, image: bytes of one."""
    scored = bool(config.evaluate.every_images)
    written = config.total_steps // config.checkpoint.every_steps + 1
    kept = config.checkpoint.keep_last + 1 + scored
    if every := config.checkpoint.keep_every_steps:
        kept += config.total_steps // math.lcm(every, config.checkpoint.every_steps)
    grids = config.total_steps // config.log.samples_every_steps + 1
    lines = config.total_steps // config.log.every_steps + 1
    others = grids * 2 * config.log.samples * image + lines * LINE_BYTES + generator * (1 + scored)
    return Need(checkpoint, min(kept, written), others)


def used_bytes(run_dir: Path) -> int:
    """Bytes of all files in the run directory; 0 if there is none."""
    return sum(path.stat().st_size for path in run_dir.rglob("*") if path.is_file()) if run_dir.is_dir() else 0


def check_disk(config: Config, measured: Probe, need: Need, used: int, seconds_per_step: float) -> list[CheckResult]:
    """Checks space, speed and locks. used: bytes of the run directory now."""
    return [
        _check_space(measured, need, used),
        _check_speed(measured, need, config.checkpoint.every_steps * seconds_per_step),
        _check_locks(measured),
    ]


def _check_space(measured: Probe, need: Need, used: int) -> CheckResult:
    more = max(need.total - used, 0)
    text = (
        f"up to {format_bytes(more)} more until the end ({need.kept:,} checkpoint(s) of {format_bytes(need.checkpoint)}"
        f", {format_bytes(need.others)} of samples and metrics), {format_bytes(measured.free)} free in "
        f"{measured.directory}"
    )
    advice = "make room, set run.dir, or keep fewer (checkpoint.keep_last, checkpoint.keep_every_steps)"
    if more > measured.free:
        return fail("disk", text, advice)
    return warn("disk", text, advice) if more > measured.free / 2 else ok("disk", text)


def _check_speed(measured: Probe, need: Need, interval: float) -> CheckResult:
    """interval: seconds between two checkpoints."""
    what, seconds = "disk speed", need.checkpoint / measured.rate
    text = f"a small file takes {format_seconds(measured.small)}, a checkpoint about {format_seconds(seconds)}"
    if seconds > interval:
        text = f"{text}, but there is one every {format_seconds(interval)}: some would be skipped"
        return warn(what, text, "raise checkpoint.every_steps, or set run.dir to a faster disk")
    if measured.small > SLOW:
        return warn(what, text, "set run.dir to a faster disk")
    return ok(what, text)


def _check_locks(measured: Probe) -> CheckResult:
    if measured.lock_error:
        text = f"they do not work in {measured.directory} ({measured.lock_error})"
        return warn("file locks", text, "let only one training write to a run directory")
    return ok("file locks", f"they work in {measured.directory}")
