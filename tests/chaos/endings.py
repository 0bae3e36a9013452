"""How two ranks end, many times: one is killed and the other told to stop at once, or both meet a user's mistake.

python -m tests.chaos.endings [--tries 200] [--seed N]

Prints a table: how the ranks ended, and how often. Exit code 1 if one ended otherwise than it should. The ranks are
forked warm (tests/support/warm.py), so that a try takes seconds; a launcher's SIGTERM comes 0 to 0.3 s after the kill.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing import connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import NamedTuple

from distgan.data.prepare import Request, prepare
from distgan.data.sources.shapes import Shapes
from tests.support import warm
from tests.support.config import TINY

SECONDS = 90.0  # for a rank to end


class Ending(NamedTuple):
    """How one rank ended."""

    code: int
    output: str


@contextlib.contextmanager
def started(root: Path, name: str, *more: str) -> Iterator[list[ForkServerProcess]]:
    """Two ranks of one training; rank N writes to ROOT/NAME.N."""
    place = [f"data.path={root / 'shapes'}", f"run.dir={root}", f"run.name={name}"]
    logs = [root / f"{name}.{rank}" for rank in (0, 1)]
    with warm.meeting_point(2) as meeting:
        yield warm.start_ranks(warm.train_rank, ("", [*TINY, *place, *more]), logs, **meeting)


def wait(rank: ForkServerProcess, log: Path) -> Ending:
    rank.join(SECONDS)
    if rank.exitcode is None:
        rank.kill()
        rank.join()
        return Ending(-99, log.read_text())
    return Ending(rank.exitcode, log.read_text())


def a_killed_rank(root: Path, number: int, chance: random.Random) -> str:
    """Kills one rank at a random moment and asks the other to stop. Returns how that one ended."""
    name, lost = f"killed{number}", number % 2
    with started(root, name, "train.images=1200000") as ranks:
        time.sleep(chance.uniform(0.5, 8.0))
        ranks[lost].kill()
        time.sleep(chance.uniform(0.0, 0.3))
        ranks[1 - lost].terminate()  # nothing, if it has ended by itself
        ending = wait(ranks[1 - lost], root / f"{name}.{1 - lost}")
    if ending.code == 3 and f"rank {lost}" in ending.output:
        return "3, the lost rank is named"
    known = any("process(es) on" in (root / f"{name}.{rank}").read_text() for rank in (0, 1))
    if known or "Traceback" in ending.output:
        return f"WRONG: {ending.code}, {ending.output[-300:]!r}"
    if ending.code == 3 and "while the processes met" in ending.output:
        return "3, before the ranks knew each other"
    if ending.code == 143 and ("nothing was lost" in ending.output or not lost):  # rank 1 says nothing
        return "143, before the ranks knew each other"
    if ending.code == -15 and not ending.output:
        return "by SIGTERM before distgan's first line"
    return f"WRONG: {ending.code}, {ending.output[-300:]!r}"


def a_mistake(root: Path, number: int, _chance: random.Random) -> str:
    """Both ranks find the same mistake. Returns how they ended."""
    mistakes = ("best.metric=fdd evaluate.every_images=60 evaluate.extractor=none", "train.batch_size=13")
    name = f"mistake{number}"
    with started(root, name, *mistakes[number % len(mistakes)].split()) as ranks:
        connection.wait([rank.sentinel for rank in ranks], SECONDS)
        for rank in ranks:
            rank.terminate()  # as a launcher does as soon as one has failed
        endings = [wait(rank, root / f"{name}.{index}") for index, rank in enumerate(ranks)]
    said = "".join(ending.output for ending in endings)
    if {ending.code for ending in endings} == {2} and said.count("=") and "Traceback" not in said:
        return "2, one sentence" if not endings[1].output else f"WRONG: told twice: {said[-300:]!r}"
    return f"WRONG: {[ending.code for ending in endings]}, {said[-300:]!r}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance, wrong = random.Random(options.seed), False
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        prepare(Request(out=root / "shapes", source=Shapes(count=300), shard_size=60), progress=False)
        for attempt in (a_killed_rank, a_mistake):
            found: Counter[str] = Counter()
            for number in range(options.tries):
                found[attempt(root, number, chance)] += 1
                if sys.stderr.isatty() or not (number + 1) % 20:
                    print(f"{attempt.__name__}: {number + 1} of {options.tries}", file=sys.stderr)
            for ending, count in found.most_common():
                print(f"| {attempt.__name__.replace('_', ' ')} | {ending} | {count} |", flush=True)
            wrong = wrong or any(ending.startswith("WRONG") for ending in found)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
