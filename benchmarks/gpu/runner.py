"""One stage: its command, all it says in a file, its end at its limit."""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import subprocess
import time
from pathlib import Path

from benchmarks.gpu.plan import Outcome, Stage
from benchmarks.gpu.stages import ROOT
from distgan.utils.safe_io import printable
from tests.support.processes import kill_all

SETTINGS = {"PYTHONUNBUFFERED": "1", "WANDB_MODE": "disabled", "TOKENIZERS_PARALLELISM": "false"}

PATIENCE = 10.0  # seconds for the end of what was killed


def execute(stage: Stage, seconds: float, log: Path) -> Outcome:
    """Runs it for so many seconds at most. At its end, whatever it is, none of its processes is left."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    began = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(
            stage.command,
            cwd=ROOT,
            env={**os.environ, **SETTINGS, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        code: int | None = process.wait(seconds)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        end(process)
    took = round(time.monotonic() - began, 1)
    return Outcome(code, took, round(seconds), str(datetime.date.today()), last_line(log))


def end(process: subprocess.Popen[bytes]) -> None:
    """Kills it, its descendants, and what is left in its group of those whose parent has ended before."""
    if process.poll() is None:
        kill_all(process, PATIENCE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def last_line(log: Path) -> str:
    """The last line that is not empty."""
    lines = (line.strip() for line in reversed(log.read_text(errors="replace").splitlines()))
    return printable(next(filter(None, lines), ""), 200)
