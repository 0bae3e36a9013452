"""The run directory: one training at a time writes to it, and it gives the training its identity.

RUN holds config.yaml, run.json (W&B id, place), metrics.jsonl, events.jsonl, scores.jsonl, samples/, checkpoints/,
curves.png, best.safetensors, generator.safetensors, report.html.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distgan.training.checkpoint.resume import Saved
from distgan.training.tracking.wandb_run import ID
from distgan.utils.errors import LaunchError
from distgan.utils.files import atomic_path, sweep
from distgan.utils.log import log
from distgan.utils.safe_io import printable, read_json

WRITTEN = {  # files that a run changes in place; all others are renamed when complete, and replace a link
    **dict.fromkeys((".lock", "metrics.jsonl", "events.jsonl", "scores.jsonl"), Path.is_file),
    **dict.fromkeys(("samples", "checkpoints", "wandb"), Path.is_dir),
}


def run_id_of(run_dir: Path, saved: Saved | None, main: bool) -> str:
    """The W&B id of the run: from RUN/run.json, from its own checkpoint, from WANDB_RUN_ID, or a new one.

    A copy of a run directory whose original is still there gets an id of its own; a moved one keeps its id.
    """
    record, given = _record(run_dir), os.environ.get("WANDB_RUN_ID", "")
    known = record.get("wandb_id", saved.state.values["run_id"] if saved and saved.is_of(run_dir) else None)
    if isinstance(known, str) and ID.match(known):
        original = _original(run_dir, record, saved, known)
        if original is None:
            if main and given not in ("", known):
                log.info("WANDB_RUN_ID=%s has no effect: %s goes on under its own W&B id, %s", given, run_dir, known)
            return known
        if main:
            log.info("%s is a copy of %s, which is still there: it gets a W&B run of its own", run_dir, original)
    if ID.match(given):
        return given
    return secrets.token_hex(4) if main else ""


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


def _refuse_links(run_dir: Path) -> None:
    """Raises LaunchError if a file that is changed in place is a link: a run directory may come from a stranger."""
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


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Holds RUN/.lock, and removes what a killed training has left.

    Raises LaunchError if another training holds it or RUN cannot be written.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        _refuse_links(run_dir)
        file = (run_dir / ".lock").open("a+")
    except OSError as error:
        fix = "set a shorter run.name or run.dir" if error.errno == errno.ENAMETOOLONG else "set run.dir"
        raise LaunchError(f"run directory {run_dir} cannot be written: {error.strerror}; {fix}") from None
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # POSIX: data workers do not inherit it
        except (BlockingIOError, PermissionError):
            file.seek(0)
            who = printable(file.read(200).strip())
            raise LaunchError(
                f"another training is writing to {run_dir} ({who}); set run.name, or, if these are "
                "processes of one launch, they do not know each other: start them with `accelerate launch --multi_gpu`"
            ) from None
        except OSError as error:
            log.warning("no file locks in %s (%s): let only one training write there", run_dir, error.strerror)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        for directory in (run_dir, run_dir / "samples"):
            sweep(directory)
        yield
