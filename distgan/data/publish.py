"""A finished directory gets its name in one step; directories of interrupted runs are removed by the next run.

Work goes on in `.NAME.MACHINE-PID-XXXX.tmp` beside the target. Nothing else in the package knows these names.
"""

from __future__ import annotations

import ctypes
import errno
import glob
import hashlib
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from distgan.utils.errors import DataError
from distgan.utils.files import ABANDONED_SECONDS, fsync, sweep_directories

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NAME_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)


@contextmanager
def temporary_directory(target: Path) -> Iterator[Path]:
    """Yields a new hidden directory beside `target`, on its file system; removes it at the end unless it was published.

    Also removes the directories that killed runs have left for the same target. Raises OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep_directories(
        target.parent, f".{glob.escape(target.name)}.*-*-*.tmp", lambda path: _is_abandoned(path, target.name)
    )
    directory = target.with_name(f".{target.name}.{_machine_id()}-{os.getpid()}-{secrets.token_hex(4)}.tmp")
    directory.mkdir()
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def publish(directory: Path, target: Path, replace: bool) -> bool:
    """Renames a finished directory to `target`, in one step. Returns False, and does nothing, if the name is taken.

    replace: exchange it with the directory that has the name; the old content is then at `directory`. Raises OSError.
    """
    fsync(directory)
    try:
        directory.rename(target)  # also replaces an empty directory
    except OSError as error:
        if error.errno not in NAME_TAKEN:
            raise
        if not replace:
            return False
        _exchange(directory, target)
    fsync(target.parent)
    return True


@contextmanager
def target_errors(target: Path, bytes_needed: int) -> Iterator[None]:
    """Turns an OSError of a target that is full or cannot be written into a DataError. bytes_needed: an estimate."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            mib = 2**20
            raise DataError(
                f"{target} cannot be written: {error.strerror}; about {bytes_needed / mib:,.1f} MiB are needed, "
                f"{_free_bytes(target) / mib:,.1f} MiB are free there; make room or choose another --out"
            ) from None
        if error.errno in (errno.EBUSY, errno.EXDEV):
            raise DataError(f"{target} is a mount point and cannot be replaced; choose {target / 'data'}") from None
        raise DataError(
            f"{target} cannot be written: {error.strerror}"
            + (f" ({error.filename})" if error.filename else "")
            + "; choose another --out, or make its parent directory writable"
        ) from None


def _free_bytes(target: Path) -> int:
    return shutil.disk_usage(next(path for path in (target, *target.parents) if path.exists())).free


def _machine_id() -> str:
    """Returns 8 hex digits for host, boot and process namespace: within them a process id means one process."""
    parts = [socket.gethostname()]
    reads: tuple[Callable[[], str], ...] = (
        lambda: Path("/proc/sys/kernel/random/boot_id").read_text(),
        lambda: os.readlink("/proc/self/ns/pid"),
    )
    for read in reads:
        try:
            parts.append(read())
        except OSError:
            parts.append("")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _is_abandoned(directory: Path, target_name: str) -> bool:
    """Returns whether the process of a temporary directory has ended, or nobody has written to it for long."""
    machine, pid = directory.name[len(target_name) + 2 :].split("-")[:2]
    silent = time.time() - _last_write(directory) > ABANDONED_SECONDS
    return silent or (machine == _machine_id() and pid.isdigit() and not _is_running(int(pid)))


def _last_write(directory: Path) -> float:
    times = []
    for path in (directory, *directory.glob("*")):
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return max(times, default=time.time())


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _exchange(first: Path, second: Path) -> None:
    """Exchanges the names of two directories: in one step on Linux, by two renames where the file system cannot."""
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
