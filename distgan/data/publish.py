"""A finished directory appears under its name in one step; what was interrupted is hidden, and removed by the next run.

Work goes on in `.NAME.MACHINE-PID-XXXX.tmp` beside the target. Nothing else in the package knows these names.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distgan.utils.errors import DataError
from distgan.utils.files import fsync

SILENT = 3600.0  # seconds without a write after which another machine's unfinished directory counts as abandoned
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST)


@contextmanager
def workplace(target: Path) -> Iterator[Path]:
    """Yields a new hidden directory beside `target`, on its file system; removes it afterwards unless it was published.

    Also removes those that killed runs have left for the same target.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    place = target.with_name(f".{target.name}.{_machine()}-{os.getpid()}-{secrets.token_hex(4)}.tmp")
    place.mkdir()
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def publish(place: Path, target: Path, replace: bool) -> bool:
    """Gives a finished directory its name, in one step. False, and nothing done, if the name is taken.

    replace: change places with what is there; its old content is then at `place`.
    """
    fsync(place)
    try:
        place.chmod(0o755)
        place.rename(target)  # also onto an empty directory
    except OSError as error:
        if error.errno not in OCCUPIED:
            raise
        if not replace:
            return False
        _exchange(place, target)
    fsync(target.parent)
    return True


@contextmanager
def target_errors(target: Path, needed: int) -> Iterator[None]:
    """Turns the errors of a target that is full or cannot be written into DataError. needed: bytes, an estimate."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            mib = 2**20
            raise DataError(
                f"{target} cannot be written: {error.strerror}; about {needed / mib:,.1f} MiB are needed, "
                f"{_free(target) / mib:,.1f} MiB are free there; make room or choose another --out"
            ) from None
        if error.errno in (errno.EBUSY, errno.EXDEV):
            raise DataError(f"{target} is a mount point and cannot be replaced; choose {target / 'data'}") from None
        raise DataError(
            f"{target} cannot be written: {error.strerror}"
            + (f" ({error.filename})" if error.filename else "")
            + "; choose another --out, or make its parent directory writable"
        ) from None


def _free(target: Path) -> int:
    place = next(path for path in (target, *target.parents) if path.exists())
    return shutil.disk_usage(place).free


def _machine() -> str:
    """Names the set of processes in which a process id means one process: host, boot and process namespace."""
    parts = [socket.gethostname()]
    for read in (lambda: Path("/proc/sys/kernel/random/boot_id").read_text(), lambda: os.readlink("/proc/self/ns/pid")):
        try:
            parts.append(read())
        except OSError:
            parts.append("")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _sweep(target: Path) -> None:
    """Removes the unfinished directories for `target` whose process is dead, or that nobody writes to."""
    for place in target.parent.glob(f".{target.name}.*-*-*.tmp"):
        machine, pid = place.name[len(target.name) + 2 :].split("-")[:2]
        abandoned = time.time() - _last_write(place) > SILENT
        if abandoned or (machine == _machine() and pid.isdigit() and not _alive(int(pid))):
            shutil.rmtree(place, ignore_errors=True)


def _last_write(place: Path) -> float:
    times = []
    for path in (place, *place.glob("*")):
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return max(times, default=time.time())


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _exchange(first: Path, second: Path) -> None:
    """Two directories change names: in one step on Linux, by two renames where the file system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    here = -100  # AT_FDCWD
    if rename is not None and rename(here, os.fsencode(first), here, os.fsencode(second), 2) == 0:  # RENAME_EXCHANGE
        return
    aside = first.with_name(first.name.removesuffix(".tmp") + "-old.tmp")
    second.rename(aside)
    try:
        first.rename(second)
    except OSError:
        aside.rename(second)
        raise
    aside.rename(first)
