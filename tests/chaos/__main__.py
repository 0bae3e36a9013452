"""Tries every fault in faults.py on real trainers and writes what was lost, and how long recovery took, as a table.

python -m tests.chaos [--kills 30] [--others 3] [--only NAME ...] [--seed N] [--write docs/reliability.md]

Kills are spread over the six kinds of kill. Exit code 1 if anything was lost. Needs root for disks, networks and SLURM.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import accelerate
import psutil
import torch

from tests.chaos.faults import KILLS, NEEDS_ROOT, OTHERS, possible
from tests.chaos.ground import Ground, Lost

BEGIN, END = "<!-- chaos: begin -->", "<!-- chaos: end -->"
Fault = Callable[[Ground], float]


@dataclass
class Tries:
    """What came of one kind of fault."""

    fault: Fault
    seconds: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    skipped: str = ""

    def row(self) -> str:
        what, how = " ".join((self.fault.__doc__ or "").split()).split(" - ", 1)
        if self.skipped:
            return f"| {what} | {how} | not tried here: {self.skipped} | | |"
        tries = len(self.seconds) + len(self.lost)
        lost = f"**{len(self.lost)}**: {self.lost[0].splitlines()[0][:120]}" if self.lost else "0"
        spent = sorted(self.seconds)
        times = f"{statistics.median(spent):.1f} s (to {spent[-1]:.1f} s)" if spent else "-"
        return f"| {what} | {how} | {tries} | {lost} | {times} |"


def attempt(tries: Tries, count: int, ground: Ground) -> None:
    tries.skipped = possible(tries.fault)
    for number in range(0 if tries.skipped else count):
        begin = time.monotonic()
        try:
            tries.seconds.append(tries.fault(ground))
            outcome = f"recovered in {tries.seconds[-1]:.1f} s"
        except Lost as loss:
            tries.lost.append(str(loss))
            outcome = f"LOST: {loss}"
        name = tries.fault.__name__
        print(f"{name} {number + 1}/{count}: {outcome} (whole try {time.monotonic() - begin:.0f} s)", flush=True)
    if tries.skipped:
        print(f"{tries.fault.__name__}: not tried here: {tries.skipped}", flush=True)


def table(all_tries: list[Tries], command: str, minutes: float) -> str:
    head = (
        f"Made by `{command}` on {datetime.date.today()} in {minutes:.0f} minutes: {psutil.cpu_count()} cores "
        f"({platform.machine()}), no GPU, gloo, Python {platform.python_version()}, torch {torch.__version__}, "
        f"accelerate {accelerate.__version__}, Linux {platform.release().split('-')[0]}."
    )
    titles = "| fault | how | tries | lost | time to recover, median (longest) |\n| --- | --- | --- | --- | --- |"
    return "\n".join([head, "", titles, *(tries.row() for tries in all_tries)])


def write(path: Path, text: str) -> None:
    """Puts the table between its marks."""
    before, rest = path.read_text().split(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")


def main() -> int:
    everything = [*KILLS, *OTHERS, *NEEDS_ROOT]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="tries of all kinds of kill together (30)")
    parser.add_argument("--others", type=int, default=3, help="tries of each other fault (3)")
    parser.add_argument("--only", nargs="+", choices=[fault.__name__ for fault in everything], metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, metavar="FILE", help=f"replaces what is between {BEGIN} and {END} there")
    options = parser.parse_args()
    os.environ.update(WANDB_MODE="disabled", OMP_NUM_THREADS="1")
    begin, done = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="distgan-chaos-") as root:
        ground = Ground(Path(root), random.Random(options.seed))
        for fault in everything:
            if not options.only or fault.__name__ in options.only:
                count = -(-options.kills // len(KILLS)) if fault in KILLS else options.others
                done.append(Tries(fault))
                attempt(done[-1], count, ground)
    text = table(done, f"python -m tests.chaos {' '.join(sys.argv[1:])}".strip(), (time.monotonic() - begin) / 60)
    print(text)
    if options.write:
        write(options.write, text)
    return int(any(tries.lost for tries in done))


if __name__ == "__main__":
    sys.exit(main())
