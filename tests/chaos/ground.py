"""Where the faults are tried: a small recipe, its undisturbed result, and what "nothing was lost" means.

A run is disturbed, started again with the same command until it ends, and its last checkpoint is compared with that of
a run that nobody disturbed: same bits, or something was lost.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distgan.data.prepare import Request, prepare
from distgan.data.sources.shapes import Shapes
from distgan.training.checkpoint import storage
from tests.support.config import TINY
from tests.support.processes import TORCHRUN, kill_all, start

STARTS = 6  # of the same command, at most
SECONDS = 180.0  # for one start
TRAINER, PLANTED = "distgan/train.py", "tests/support/faulty_trainer.py"
RECIPE = (*TINY, "checkpoint.every_steps=20", "log.every_steps=20", "log.samples_every_steps=200")


class Lost(Exception):
    """Something that a user would call lost."""


@dataclass
class Ground:
    """One directory in which runs are made and disturbed."""

    root: Path
    random: random.Random
    images: int = 4800
    """Of a run: 400 steps, 20 checkpoints."""
    life: float = 14.0
    """Seconds from its start, in which its random moments lie."""
    results: dict[int, bytes] = field(default_factory=dict)
    runs: int = 0

    def __post_init__(self) -> None:
        self.data = self.root / "shapes"
        prepare(Request(out=self.data, source=Shapes(count=300), shard_size=60), progress=False)

    def new_run(self) -> Run:
        self.runs += 1
        return Run(self, f"run{self.runs}")

    def undisturbed(self, processes: int) -> bytes:
        """The last checkpoint's tensors of a run that nobody touched."""
        if processes not in self.results:
            run = Run(self, f"undisturbed{processes}")
            run.until_it_ends(run.command(processes))
            self.results[processes] = run.result()
        return self.results[processes]


@dataclass
class Run:
    """One training run and its log."""

    ground: Ground
    name: str
    more: tuple[str, ...] = ()

    @property
    def directory(self) -> Path:
        return self.ground.root / self.name

    @property
    def log(self) -> Path:
        return self.ground.root / f"{self.name}.log"

    @property
    def overrides(self) -> list[str]:
        place = (f"data.path={self.ground.data}", f"run.dir={self.ground.root}", f"run.name={self.name}")
        return [*RECIPE, f"train.images={self.ground.images}", *place, *self.more]

    def command(self, processes: int, *script: str, launcher: Sequence[str] = TORCHRUN) -> list[str]:
        """`script`: the trainer, or faulty_trainer.py and a fault."""
        head = [sys.executable] if processes == 1 else [*launcher, str(processes)]
        return [*head, *(script or (TRAINER,)), *self.overrides]

    def start(self, command: Sequence[str], **env: str):
        return start(command, self.log, PYTHONPATH=".", **env)

    def steps(self) -> list[int]:
        return storage.steps(self.directory / "checkpoints")

    def newest(self) -> int:
        return max(self.steps(), default=-1)

    def until_it_ends(self, command: Sequence[str], **env: str) -> float:
        """Starts the command again and again until it has trained to the end. Returns the seconds until there was a
        checkpoint newer than at the call (or the end)."""
        begin, newest, recovered = time.monotonic(), self.newest(), None
        for _ in range(STARTS):
            process = self.start(command, **env)
            end = time.monotonic() + SECONDS
            while process.poll() is None:
                if recovered is None and self.newest() > newest:
                    recovered = time.monotonic() - begin
                if time.monotonic() > end:
                    kill_all(process)
                    raise Lost(f"hangs: {self.tail()}")
                time.sleep(0.02)
            if process.returncode == 0:
                return recovered if recovered is not None else time.monotonic() - begin
            time.sleep(0.5)  # an orphan may still be saving
        raise Lost(f"does not end in {STARTS} starts: {self.tail()}")

    def result(self) -> bytes:
        """The last checkpoint's tensors; the exported generator must be there too."""
        if not (self.directory / "generator.safetensors").exists():
            raise Lost("no exported generator")
        path = self.directory / "checkpoints" / f"step-{self.newest():09d}"
        storage.load(path)
        return (path / "state.safetensors").read_bytes()

    def must_equal_undisturbed(self, processes: int) -> None:
        if self.result() != self.ground.undisturbed(processes):
            raise Lost("the bits are not those of an undisturbed run")
        leftovers = [path.name for path in self.directory.rglob(".*.tmp")]
        if leftovers:
            raise Lost(f"left behind: {leftovers}")

    def says(self, text: str) -> None:
        if text not in self.log.read_text():
            raise Lost(f"nobody was told {text!r}: {self.tail()}")

    def tail(self) -> str:
        return self.log.read_text()[-600:] if self.log.exists() else "no log"


def wait_until(condition: Callable[[], object], process, seconds: float = SECONDS) -> bool:
    """Whether the condition held before the process ended or the time was up."""
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True
