"""Contenders in processes of their own, which take turns: one works while all others rest, so that they are compared
under the same conditions, whatever else the machine does.

A contender is a function `name(lap, **options)` of a module in baselines/: it builds what it needs, and then, without
end, does a piece of work and calls `lap(units)`: how many steps, images, ... that was. `lap` returns when its next
turn begins. `turns` makes such a function of a simple one. Its first piece of work is a warm-up and is not counted.
Several processes of one contender find each other as a launcher's would.

python -m benchmarks.speed.interleave MODULE NAME [KEY=VALUE ...]: one contender by hand; every line on stdin is a turn.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

Lap = Callable[..., None]  # (units, facts of one unit, where there are new ones)
ROOT = Path(__file__).resolve().parent.parent.parent
BASELINES = "benchmarks.speed.baselines"


class Failed(Exception):
    """A contender ended before its time. The text is its exception, or the end of what it said."""


class Turn(NamedTuple):
    """One piece of work."""

    seconds: float
    """Per unit; of several processes, the slowest."""
    memory: float
    """Peak so far, GiB: resident, or taken from the GPU where it works there, graphs included."""
    facts: dict[str, float]
    """What the contender says of one unit, such as {"flops": 6.4e11}."""


class Side(NamedTuple):
    """A contender to be: who it is and with what."""

    name: str
    """module.function"""
    options: Mapping[str, str]
    processes: int = 1
    python: str = sys.executable

    @property
    def label(self) -> str:
        return self.options.get("label", self.name.rpartition(".")[2])

    @property
    def arguments(self) -> dict[str, str]:
        """What the contender is given: the options, without what is only said of it."""
        return {key: value for key, value in self.options.items() if key != "label"}


class Contender:
    """The processes of one side, at rest between turns."""

    def __init__(self, side: Side, log: Path) -> None:
        """log: file that all it prints is added to. A directory beside it is where its processes are."""
        self.log, self.place = log, log.with_name(f"{log.name}-files")
        self.place.mkdir(exist_ok=True)
        module, _, name = side.name.rpartition(".")
        options = [f"{key}={value}" for key, value in side.arguments.items()]
        command = [side.python, "-m", "benchmarks.speed.interleave", module, name, *options]
        self.processes = [self._start(command, place) for place in _places(side.processes)]

    def _start(self, command: list[str], place: Mapping[str, str]) -> subprocess.Popen[str]:
        path = (str(ROOT), os.environ.get("PYTHONPATH"))
        with self.log.open("a") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self.place,
                env={**os.environ, **place, "PYTHONPATH": os.pathsep.join(filter(None, path))},
            )

    def ready(self) -> None:
        """Returns after the warm-up. Raises Failed."""
        for process in self.processes:
            self._answer(process)

    def turn(self) -> Turn:
        """Raises Failed."""
        for process in self.processes:
            self._ask(process)
        answers = [self._answer(process) for process in self.processes]
        slowest = max(answers, key=lambda answer: answer["seconds"])
        return Turn(
            slowest["seconds"] / slowest["units"], max(answer["memory"] for answer in answers), slowest["facts"]
        )

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def _ask(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin
        with contextlib.suppress(BrokenPipeError):  # `_answer` says why
            process.stdin.write("go\n")
            process.stdin.flush()

    def _answer(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout
        line = process.stdout.readline()
        if not line:
            code = process.wait()  # its last words may come after the end of its answers
            said = self.log.read_text(errors="replace").strip().splitlines()
            raise Failed(said[-1] if said else f"ended with exit code {code}")
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise Failed(answer["failed"])
        return answer


def turns(function: Callable[..., Callable[[], int]]) -> Callable[..., None]:
    """Makes a contender of a function that returns a piece of work, which returns its units."""

    @functools.wraps(function)
    def contender(lap: Lap, **options: str) -> None:
        work = function(**options)
        while True:
            lap(work())

    return contender


def _places(processes: int) -> Iterator[dict[str, str]]:
    """The environment of each process."""
    if processes == 1:
        yield {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0)))}
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for rank in range(processes):
        yield {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": str(max(len(os.sched_getaffinity(0)) // processes, 1)),
        }


class _Laps:
    """The side of the contender: answers, and waits for its next turn."""

    def __init__(self) -> None:
        self.answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what libraries print is no answer
        self.began: float | None = None
        self.facts: dict[str, float] = {}

    def __call__(self, units: int, facts: Mapping[str, float] | None = None) -> None:
        """facts: of one unit, kept for all later answers."""
        _wait_for_the_gpu()
        seconds = 0.0 if self.began is None else time.perf_counter() - self.began
        self.facts |= facts or {}
        answer = {"units": units, "seconds": seconds, "memory": _peak_memory(), "facts": self.facts}
        print(json.dumps(answer), file=self.answers, flush=True)
        if not sys.stdin.readline():
            os._exit(0)  # nobody asks any more
        self.began = time.perf_counter()

    def give_up(self, error: Exception) -> None:
        print(json.dumps({"failed": f"{type(error).__name__}: {error}".splitlines()[0]}), file=self.answers, flush=True)


def _wait_for_the_gpu() -> None:
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        torch.cuda.synchronize()


def _peak_memory() -> float:
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        return torch.cuda.max_memory_reserved() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main(module: str, name: str, *options: str) -> None:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as distgan/utils/cpu.py
    lap = _Laps()
    try:
        contender = getattr(importlib.import_module(module if "." in module else f"{BASELINES}.{module}"), name)
        contender(lap, **dict(option.split("=", 1) for option in options))
    except Exception as error:
        lap.give_up(error)
        raise


if __name__ == "__main__":
    main(*sys.argv[1:])
