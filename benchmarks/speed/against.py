"""The training step and the start-up of this checkout beside those of another one, in one run.

python -m benchmarks.speed.against CHECKOUT [--recipes seed_frogs,quickstart] [--rounds 20] [--into docs/performance.md]

For each recipe two processes build the trainer, one from each checkout, on the embedded shapes. They take turns: one
works while the other waits, so that both have the same conditions. The ratio of a round is the time of this checkout by
the other's; the table has the median of all rounds and the middle half. Start-up is `distgan/train.py` with a budget of
one step, from the start of the process to its end, also in turns.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.common.arguments import whole
from benchmarks.common.machine import processor
from benchmarks.common.markdown import filled

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = 2.0  # of a turn
WORKER = """
import sys, time, torch
from accelerate import Accelerator
try:
    from distgan.config.load import load_config
    from distgan.data.dataset import ImageDataset
    from distgan.training.trainer import Trainer
    from distgan.utils import cpu
    from distgan.utils.rng import Rows
except ImportError:  # version 0.1
    from distgan import cpu
    from distgan.config_file import load_config
    from distgan.data.loader import Reals as ImageDataset
    from distgan.rng import Rows
    from distgan.trainer import Trainer
recipe, data, *overrides = sys.argv[1:]
cpu.keep_freed_memory()
config = load_config(recipe, [f"data.path={data}", "data.prepare=null", "data.classes=null", *overrides])
torch.set_num_threads(config.train.cpu_threads or 1)
rows = Rows(0, config.train.batch_size, config.train.batch_size)
reals = ImageDataset(config.data, config.run.seed, rows, torch.device("cpu"), show=False)
counts = getattr(reals, "class_counts", len(reals.classes))  # an older checkout's trainer takes their number
trainer = Trainer(config, Accelerator(cpu=True), rows, reals.size, counts)
batches = reals.batches(0)
for _ in range(2):
    trainer.step(batches)
for line in sys.stdin:
    begin = time.perf_counter()
    for _ in range(int(line)):
        trainer.step(batches)
    print((time.perf_counter() - begin) / int(line), flush=True)
"""


def environment(checkout: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(checkout), "GOMP_SPINCOUNT": "10000", "WANDB_MODE": "disabled"}


class Worker:
    """A process with a trainer of one checkout."""

    def __init__(self, checkout: Path, recipe: str, data: Path, overrides: list[str]) -> None:
        command = [sys.executable, "-c", WORKER, recipe, str(data), *overrides]
        self.process = subprocess.Popen(
            command, env=environment(checkout), cwd=data, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def turn(self, steps: int) -> float:
        """Seconds of a step."""
        assert self.process.stdin
        assert self.process.stdout
        print(steps, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def step_ratios(other: Path, recipe: str, data: Path, rounds: int, overrides: list[str]) -> list[float]:
    """Seconds of a step here by those there, round by round."""
    ours, theirs = (Worker(checkout, recipe, data, overrides) for checkout in (ROOT, other))
    try:
        steps = max(1, round(SECONDS / max(ours.turn(1), theirs.turn(1))))
        return ratios(lambda: ours.turn(steps), lambda: theirs.turn(steps), rounds)
    finally:
        ours.close()
        theirs.close()


def start_ratios(other: Path, data: Path, rounds: int) -> list[float]:
    """Seconds from start to the end of a training of one step here by those there."""

    def start(checkout: Path) -> float:
        with tempfile.TemporaryDirectory() as folder:
            settings = [f"data.path={data}", "data.prepare=null", f"run.dir={folder}", "train.images=16"]
            settings += ["train.batch_size=16", "wandb.mode=disabled", "evaluate.every_images=null"]
            command = [sys.executable, str(checkout / "distgan" / "train.py"), *settings]
            begin = time.perf_counter()
            subprocess.run(command, env=environment(checkout), check=True, capture_output=True, cwd=folder)
            return time.perf_counter() - begin

    start(ROOT)
    start(other)  # both have their bytecode now
    return ratios(lambda: start(ROOT), lambda: start(other), rounds)


def ratios(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> list[float]:
    """Who begins changes from round to round."""
    found = []
    for number in range(rounds):
        if number % 2:
            there = theirs()
            found.append(ours() / there)
        else:
            here = ours()
            found.append(here / theirs())
    return found


def row(what: str, found: list[float]) -> str:
    low, middle, high = statistics.quantiles(found, n=4)
    return f"| {what} | {middle:.3f} | {low:.3f} ... {high:.3f} | {len(found)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, metavar="CHECKOUT")
    parser.add_argument("--recipes", default="seed_frogs,quickstart", metavar="A,B")
    parser.add_argument("--rounds", type=whole, default=20, metavar="N")
    parser.add_argument("--into", type=Path, metavar="FILE", help="the table goes between its marks, too")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    args = parser.parse_intermixed_args()
    if args.rounds < 2:
        parser.error("--rounds: a middle half needs two at least")
    other = args.checkout.resolve()
    lines = ["| what | this / other, median | middle half | rounds |", "| --- | ---: | ---: | ---: |"]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "shapes"
        shapes = ["prepare", "shapes", "--count", "300", "--out", str(data), "--quiet"]
        subprocess.run(
            [sys.executable, "-m", "distgan", *shapes], env=environment(ROOT), check=True, capture_output=True
        )
        for recipe in args.recipes.split(","):
            lines.append(row(f"step of {recipe}", step_ratios(other, recipe, data, args.rounds, args.overrides)))
            print(lines[-1], flush=True)
        lines.append(row("a training of one step, start to end", start_ratios(other, data, args.rounds)))
        print(lines[-1], flush=True)
    if args.into:
        revision = subprocess.run(
            ["git", "-C", str(other), "rev-parse", "--short", "HEAD"], capture_output=True, text=True
        ).stdout.strip()
        others = [word for word in sys.argv[1:] if word != str(args.checkout)]
        command = shlex.join(["python", "-m", "benchmarks.speed.against", f"../{revision}", *others])
        command = f"git worktree add ../{revision} {revision} && {command}"
        facts = f"`{command}`; {os.cpu_count()} cores of {processor()}; {datetime.date.today()}."
        args.into.write_text(filled(args.into, "against", "\n".join([*lines, "", facts])))


if __name__ == "__main__":
    main()
