"""Starting the real thing: trainers as processes, alone or two under a launcher, killed or interrupted at a moment."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node")
ALONE = (sys.executable, "distgan/train.py")
TWO = (*TORCHRUN, "2", "distgan/train.py")
started: list[subprocess.Popen[bytes]] = []
"""By `start`, in this test."""


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ACCELERATE_", "WANDB_"))}
    return {**kept, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled", **more}


def start(command: Sequence[str], log: Path, **env: str) -> subprocess.Popen[bytes]:
    """From the repository root, in a process group of its own, output to `log`."""
    with log.open("ab") as file:
        started.append(
            subprocess.Popen(
                command, cwd=ROOT, env=environment(**env), stdout=file, stderr=file, start_new_session=True
            )
        )
    return started[-1]


def kill_the_left() -> None:
    """What a test that has failed leaves running would train on beside the next ones."""
    for process in started:
        if process.poll() is None:
            kill_all(process)
    started.clear()


def run(command: Sequence[str], timeout: float = 240, **env: str) -> tuple[int, str]:
    """Exit code and all output."""
    done = subprocess.run(
        command, cwd=ROOT, env=environment(**env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout
    )
    return done.returncode, done.stdout.decode()


@contextlib.contextmanager
def held_port() -> Iterator[int]:
    """A port of 127.0.0.1 that is given to nobody else meanwhile; a server that takes SO_REUSEADDR may listen on it."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def wait_for(condition: Callable[[], object], process: subprocess.Popen[bytes], timeout: float = 180) -> None:
    """Raises AssertionError if the process ends, or the time, before the condition holds."""
    end = time.monotonic() + timeout
    while not condition():
        assert process.poll() is None, f"the process ended with {process.returncode} before the awaited moment"
        assert time.monotonic() < end, "the awaited moment did not come"
        time.sleep(0.02)


def kill_all(process: subprocess.Popen[bytes], patience: float | None = None) -> None:
    """SIGKILL to the launcher and all it has started (torchrun's workers are in groups of their own).

    patience: seconds to wait for their end, which a driver may delay for ever; None: without a limit.
    """
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(family, patience)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(patience)
