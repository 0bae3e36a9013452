"""The run directory: one training at a time writes to it, and it gives the training its identity.

RUN holds config.yaml, run.json (W&B id, place), metrics.jsonl, events.jsonl, scores.jsonl, samples/, checkpoints/,
curves.png, best.safetensors, generator.safetensors, report.html, and what trackers write: wandb/, tensorboard/.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
import secrets
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from distgan.training.checkpoint.resume import Saved
from distgan.training.tracking.wandb_mode import ID
from distgan.utils.errors import LaunchError
from distgan.utils.files import atomic_path, sweep
from distgan.utils.log import log
from distgan.utils.safe_io import open_regular, printable, read_json

ENDING = ("generator.safetensors", "report.html", "curves.png")  # written after the last step
FLOCK, TYPE = ("hhlli", 0) if sys.platform == "linux" else ("qqihh", 3)
"""C's `struct flock`, and the place of the lock's type in it: first on Linux, fourth on macOS."""
WRITTEN = {  # files that a run changes in place; all others are renamed when complete, and replace a link
    **dict.fromkeys((".lock", "metrics.jsonl", "events.jsonl", "scores.jsonl"), Path.is_file),
    **dict.fromkeys(("samples", "checkpoints", "wandb", "tensorboard"), Path.is_dir),
}


def run_id_of(run_dir: Path, saved: Saved | None) -> str:
    """The W&B id of the run: from RUN/run.json, from its own checkpoint, from WANDB_RUN_ID, or a new one.

    For the main process, which tells the others. A copy of a run directory whose original is still there gets an id of
    its own; a moved one keeps its id.
    """
    record, given = _record(run_dir), os.environ.get("WANDB_RUN_ID", "")
    known = record.get("wandb_id", saved.state.values["run_id"] if saved and saved.is_of(run_dir) else None)
    if isinstance(known, str) and ID.match(known):
        original = _original(run_dir, record, saved, known)
        if original is None:
            if given not in ("", known):
                log.info("WANDB_RUN_ID=%s has no effect: %s goes on under its own W&B id, %s", given, run_dir, known)
            return known
        log.info("%s is a copy of %s, which is still there: it gets a W&B run of its own", run_dir, original)
    return given if ID.match(given) else secrets.token_hex(4)


def _record(run_dir: Path) -> dict[str, Any]:
    """The content of RUN/run.json; {} if there is none, or it is damaged."""
    try:
        record = read_json(run_dir / "run.json", 1 << 16)
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _original(run_dir: Path, record: dict[str, Any], saved: Saved | None, run_id: str) -> Path | None:
    """The other directory of the run with this id, which `run_dir` was copied from; None if there is none.

    It is where run.json says that it was written; one of distgan 0.2.0 does not say, but its checkpoints do.
    """
    home = record.get("directory")
    if home is None and saved and saved.is_of(run_dir):
        run = saved.state.values["config"].get("run")
        home = str(Path(run["dir"], run["name"]).resolve()) if isinstance(run, dict) else None
    try:
        original = Path(str(home))
        is_other = home is not None and _record(original).get("wandb_id") == run_id and not original.samefile(run_dir)
    except (OSError, ValueError):  # a name that no file can have
        return None
    return original if is_other else None


def check_place(run_dir: Path) -> None:
    """Raises LaunchError if something else is in the place of RUN, or if a file that is changed in place is a link.

    A run directory may come from a stranger.
    """
    if not run_dir.is_dir() and (run_dir.is_symlink() or any(path.is_file() for path in (run_dir, *run_dir.parents))):
        raise LaunchError(
            f"run directory {run_dir} cannot be made: a file, or a link that leads nowhere, is there or above it; "
            "remove that, or set run.name or run.dir"
        )
    for name, is_right in WRITTEN.items():
        path = run_dir / name
        if path.is_symlink() or (path.exists() and not is_right(path)):
            raise LaunchError(
                f"{path} is a link, or not what a run has there, and is not written to; remove it, put in its place "
                "what it leads to, or set run.name"
            )


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text)


_held: set[tuple[int, int]] = set()  # device and number of the locks that this process holds


def _take(run_dir: Path) -> TextIO:
    """Makes RUN, and opens and locks RUN/.lock."""
    check_place(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    file = (run_dir / ".lock").open("a+")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # POSIX: data workers do not inherit it
    except (BlockingIOError, PermissionError):
        file.seek(0)
        who = printable(file.read(200).strip())
        file.close()
        raise LaunchError(
            f"another training is writing to {run_dir} ({who}); set run.name, or, if these are "
            "processes of one launch, they do not know each other: start them with `accelerate launch --multi_gpu`"
        ) from None
    except OSError as error:
        log.warning("no file locks in %s (%s): let only one training write there", run_dir, error.strerror)
    _held.add(_identity(file))
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}")
    file.flush()
    return file


def _release(file: TextIO) -> None:
    _held.discard(_identity(file))
    file.close()


def _identity(file: TextIO) -> tuple[int, int]:
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino


class RunLock:
    """RUN/.lock, which one training at a time holds."""

    def __init__(self, run_dir: Path) -> None:
        """Takes it. Raises LaunchError if another training holds it, OSError if RUN cannot be written."""
        self.run_dir, self._file = run_dir, _take(run_dir)
        self.failure = ""
        """Why RUN could not be made again when it was last tried; empty if it is there."""

    def is_lost(self) -> bool:
        """Whether RUN was removed, and perhaps made again by somebody else."""
        try:
            return not os.path.samestat(os.fstat(self._file.fileno()), (self.run_dir / ".lock").stat())
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:  # a network disk, for a moment
            return False

    def take_again(self) -> None:
        """Makes RUN again. Raises LaunchError if another training holds it now, OSError if it cannot be made."""
        taken = _take(self.run_dir)
        _release(self._file)
        self._file = taken

    def close(self) -> None:
        """Gives it up."""
        _release(self._file)

    def remove_if_empty(self) -> None:
        """Removes RUN where a start that was refused has left nothing in it but this lock."""
        with contextlib.suppress(OSError):
            if os.listdir(self.run_dir) == [".lock"]:
                (self.run_dir / ".lock").unlink()
                self.run_dir.rmdir()


def is_training(run_dir: Path) -> bool:
    """Whether a training holds RUN/.lock, as far as can be said."""
    try:
        return holder_of(run_dir) is not None
    except OSError:  # no run yet, or a network disk without locks
        return False


def holder_of(run_dir: Path) -> str | None:
    """Who holds RUN/.lock. Only asks: it never gets in a training's way. Raises OSError: no run yet, or no locks here.

    A lock of this process is not looked at: it would be lost when any file of it is closed.
    """
    question = struct.pack(FLOCK, *(fcntl.F_WRLCK if place == TYPE else 0 for place in range(5)))
    found = (run_dir / ".lock").stat()
    if (found.st_dev, found.st_ino) in _held:
        return "this process"
    with open_regular(run_dir / ".lock") as file:
        answer = struct.unpack(FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, question))
        return None if answer[TYPE] == fcntl.F_UNLCK else file.read(200).decode(errors="replace").strip()


@contextmanager
def locked(run_dir: Path) -> Iterator[RunLock]:
    """Holds RUN/.lock, and removes what a killed training has left.

    Raises LaunchError if another training holds it or RUN cannot be written.
    """
    try:
        lock = RunLock(run_dir)
    except OSError as error:
        fix = "set a shorter run.name or run.dir" if error.errno == errno.ENAMETOOLONG else "set run.dir"
        raise LaunchError(f"run directory {run_dir} cannot be written: {error.strerror}; {fix}") from None
    with contextlib.closing(lock):
        for directory in (run_dir, run_dir / "samples"):
            sweep(directory)
        try:
            yield lock
        except BaseException:
            lock.remove_if_empty()
            raise


def keep_directory(lock: RunLock, write_identity: Callable[[], None]) -> str:
    """Makes RUN again if it was removed while training. Returns a sentence then, else nothing.

    write_identity: writes the files that a training begins with. Raises LaunchError if another training writes there.
    """
    if not (lost := lock.is_lost()) and not lock.failure:
        return ""
    before = lock.failure
    try:
        if lost:
            lock.take_again()
        write_identity()
    except OSError as error:
        lock.failure = error.strerror or str(error)
        text = f"{lock.run_dir} was removed or moved and cannot be made again ({lock.failure}); training tries on"
        return "" if lock.failure == before else text
    lock.failure = ""
    return f"{lock.run_dir} was removed or moved: it is written again from here on; training goes on"


def mark_ended(run_dir: Path, images: int) -> None:
    """Notes in RUN/run.json that everything of the end after so many images is written, if it is."""
    if all((run_dir / name).is_file() for name in ENDING):
        with contextlib.suppress(OSError):  # the next start writes the end again
            write_text(run_dir / "run.json", json.dumps(_record(run_dir) | {"ended_at_images": images}) + "\n")


def images_at_end(run_dir: Path) -> int | None:
    """The images seen when the end was written; None: it was not, or it is not known, as for runs of 0.2.0."""
    images = _record(run_dir).get("ended_at_images")
    return images if isinstance(images, int) else None


def has_ended(run_dir: Path, images: int) -> bool:
    """Whether nothing of the end after so many images is missing; of runs of 0.2.0 and before only their files tell."""
    record = _record(run_dir)
    ended = record.get("ended_at_images", None if "directory" in record else images)
    return ended == images and all((run_dir / name).is_file() for name in ENDING)
