"""The run directory: one training at a time writes to it, and it gives the training its identity.

RUN holds config.yaml, run.json (W&B id), metrics.jsonl, events.jsonl, scores.jsonl, samples/, checkpoints/, curves.png,
best.safetensors, generator.safetensors, report.html.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distgan.training.checkpoint.resume import Saved
from distgan.utils.errors import LaunchError
from distgan.utils.files import atomic_path, sweep
from distgan.utils.log import log
from distgan.utils.safe_io import printable, read_json

ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")  # W&B's own have 8 letters and digits
WRITTEN = {  # files that a run changes in place; all others are renamed when complete, and replace a link
    **dict.fromkeys((".lock", "metrics.jsonl", "events.jsonl", "scores.jsonl"), Path.is_file),
    **dict.fromkeys(("samples", "checkpoints", "wandb"), Path.is_dir),
}


def run_id_of(run_dir: Path, saved: Saved | None, main: bool) -> str:
    """The W&B id of the run: from RUN/run.json, from its own checkpoint, or a new one."""
    try:
        known = [read_json(run_dir / "run.json", 1 << 16)["wandb_id"]]
    except (OSError, ValueError, KeyError, TypeError):
        known = [saved.state.values["run_id"]] if saved and saved.is_of(run_dir) else []
    for name in known:
        if isinstance(name, str) and ID.match(name):
            return name
    return secrets.token_hex(4) if main else ""


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
        raise LaunchError(f"run directory {run_dir} cannot be written: {error.strerror}; set run.dir") from None
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
