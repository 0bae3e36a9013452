"""The run directory: who may write to it, and the identity that it gives a training.

RUN holds config.yaml, run.json (W&B id), metrics.jsonl, events.jsonl, samples/, checkpoints/, curves.png,
generator.safetensors.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distgan.errors import LaunchError
from distgan.files import atomic_path
from distgan.resume import Saved


def run_id_of(run_dir: Path, saved: Saved | None, main: bool) -> str:
    """The W&B id of the run: from RUN/run.json, from its own checkpoint, or a new one."""
    try:
        return str(json.loads((run_dir / "run.json").read_text())["wandb_id"])
    except (OSError, ValueError, KeyError, TypeError):
        own = saved is not None and saved.path.resolve().parent == (run_dir / "checkpoints").resolve()
        return str(saved.state.values["run_id"]) if saved and own else secrets.token_hex(4) if main else ""


def write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text)


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Holds RUN/.lock. Raises LaunchError if another training holds it or RUN cannot be written."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        file = (run_dir / ".lock").open("a+")
    except OSError as error:
        raise LaunchError(f"run directory {run_dir} cannot be written: {error.strerror}; set run.dir") from None
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # POSIX: data workers do not inherit it
        except (BlockingIOError, PermissionError):
            file.seek(0)
            raise LaunchError(
                f"another training is writing to {run_dir} ({file.read().strip()}); set run.name, or, if these are "
                "processes of one launch, they do not know each other: start them with `accelerate launch --multi_gpu`"
            ) from None
        except OSError as error:
            print(
                f"WARNING: no file locks in {run_dir} ({error.strerror}): let only one training write there", flush=True
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield
