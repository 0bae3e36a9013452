"""Ranks that begin warm: forked from a server that has imported torch, accelerate and distgan (forks.py).

    code, output = warm.train(tiny("data.mode=stream"), processes=2)       # distgan/train.py, joined through gloo
    code, output = warm.run(function, argument, processes=3)               # any function of an importable module

Each rank is a process of its own, forked for this one call: no state of torch or Accelerate is left over from another
test. The ranks find each other through a store that pytest holds open, on a port that the system gave it, so that no
two tests can collide. What is about launchers, kills or start-up starts the real commands instead (processes.py).
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, NamedTuple

import torch.distributed as dist

from distgan.utils.background import leave
from tests.support import forks
from tests.support.processes import ROOT, environment

GRACE = 30.0  # seconds that the others have after one rank has failed, before SIGKILL; as under torchrun


class Ended(NamedTuple):
    """How a group of ranks ended."""

    code: int
    """Exit code of the rank that failed first, or 0. Below 0: the signal that ended it."""
    output: str
    """All that the ranks wrote to stdout and stderr."""


def train(arguments: Sequence[str], processes: int = 1, fault: str = "", **env: str) -> Ended:
    """What `distgan/train.py ARGUMENTS` does on so many ranks; fault: the name of one in faulty_trainer.py."""
    return run(train_rank, fault, list(arguments), processes=processes, **env)


def doctor(arguments: Sequence[str], processes: int = 1, **env: str) -> Ended:
    """What `distgan doctor ARGUMENTS` does on so many ranks."""
    return run(_doctor, list(arguments), processes=processes, **env)


def run(
    function: Callable[..., int | None], *arguments: Any, processes: int = 1, timeout: float = 240, **env: str
) -> Ended:
    """Calls the function on every rank and waits for all. What it returns is the rank's exit code; None is 0.

    As under torchrun the others are asked to end (SIGTERM) as soon as one has failed, and killed GRACE seconds later.
    Raises TimeoutError, with the output, if they have not ended after `timeout` seconds.
    """
    with tempfile.TemporaryDirectory() as folder, meeting_point(processes) as meeting:
        log = Path(folder) / "log"
        log.touch()
        ranks = start_ranks(function, arguments, [log] * processes, **meeting, **env)
        code = _wait(ranks, timeout, log)
        return Ended(code, log.read_text(errors="replace"))


def start_ranks(
    function: Callable[..., int | None], arguments: tuple[Any, ...], logs: Sequence[Path], **env: str
) -> list[ForkServerProcess]:
    """Starts a rank for each log file. env: tells them where they meet, among others."""
    ranks = []
    for rank, log in enumerate(logs):
        place = environment(**(_place(rank, len(logs)) if len(logs) > 1 else {}), **env)
        ranks.append(forks.context().Process(target=_rank, args=(function, arguments, place, log)))
        ranks[-1].start()
    return ranks


@contextlib.contextmanager
def meeting_point(processes: int) -> Iterator[dict[str, str]]:
    """Where the ranks meet, as environment variables: the store of torchrun's agent, here pytest's."""
    if processes == 1:
        yield {}
        return
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    yield {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }


def _place(rank: int, processes: int) -> dict[str, str]:
    size, own = str(processes), str(rank)
    return {"RANK": own, "LOCAL_RANK": own, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}


def _rank(function: Callable[..., int | None], arguments: tuple[Any, ...], env: dict[str, str], log: Path) -> None:
    """The child's life: the environment, directory and output of a started command, then the function."""
    assert "distgan.training.run" in sys.modules, "the server has not imported what it should"
    os.environ.clear()
    os.environ.update(env)
    os.chdir(ROOT)
    tempfile.tempdir = None  # found anew, in this environment
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout.reconfigure(line_buffering=True)
    faulthandler.register(signal.SIGUSR1, file=2)  # where it hangs, for `_wait`
    leave(lambda: function(*arguments) or 0)


def train_rank(fault: str, arguments: list[str]) -> int:
    """One rank of `train`."""
    from distgan import train
    from distgan.distributed import launcher

    launcher.LAUNCHER = os.getppid()  # imported by the server, which has another parent
    if fault:
        from tests.support import faulty_trainer

        getattr(faulty_trainer, fault)()
    return train.main(arguments)


def _doctor(arguments: list[str]) -> int:
    from distgan.doctor.__main__ import main

    return main(arguments)


def _wait(ranks: list[ForkServerProcess], timeout: float, log: Path) -> int:
    """Waits for all ranks, or kills them. Returns the first exit code that is not 0, or 0."""
    alive, first, end = {rank.sentinel: rank for rank in ranks}, 0, time.monotonic() + timeout
    try:
        while alive:
            ended = connection.wait(list(alive), max(end - time.monotonic(), 0))
            if not ended and first:
                break
            if not ended:
                for rank in alive.values():
                    os.kill(rank.pid, signal.SIGUSR1)
                time.sleep(1)
                raise TimeoutError(f"{len(alive)} rank(s) did not end in {timeout:.0f} s: {log.read_text()}")
            for sentinel in ended:
                rank = alive.pop(sentinel)
                rank.join()
                if rank.exitcode and not first:
                    first, end = rank.exitcode, min(end, time.monotonic() + GRACE)
                    for other in alive.values():
                        other.terminate()
    finally:
        for rank in alive.values():
            rank.kill()
            rank.join()
    return first
