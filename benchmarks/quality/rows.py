"""The rows of the table: which recipes there are, run directories by recipe, seconds and seed, and how one is made."""

from __future__ import annotations

import datetime
import re
import shlex
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

from distgan.config.recipes import read_recipe
from distgan.inference.generator import load_generator
from distgan.inference.sampling import LAST
from distgan.metrics.evaluator import Evaluator
from distgan.metrics.protocol import Scores, load_scores, save_scores
from distgan.training.run_dir import locked
from distgan.utils.images import save_png, to_grid

ROOT = Path(__file__).resolve().parent.parent.parent
CANDIDATES = Path(__file__).parent / "candidates"
RECIPES = ("dcgan", "sngan", "sngan_conditional", "r3gan", "cifar10", "cifar10_cpu")  # where --recipes is not given
ROWS, COLUMNS = 10, 10  # of a grid: a class in each column
UNLIMITED = 10**9  # images: a row's seconds are its only end
NAMED = re.compile(r"(?P<recipe>\w+)-(?P<seconds>[1-9]\d*)-seed(?P<seed>\d+)")


class Key(NamedTuple):
    recipe: str
    seconds: int
    seed: int

    @property
    def name(self) -> str:
        """Of its directory."""
        return f"{self.recipe}-{self.seconds}-seed{self.seed}"


class Row(NamedTuple):
    scores: Mapping[str, Scores]
    """By the judge's name."""
    date: datetime.date

    @property
    def images(self) -> int:
        """Seen in training."""
        return next(iter(self.scores.values())).images_seen


@cache
def files() -> Mapping[str, Path]:
    """Every recipe for all classes of CIFAR-10, in the order of the table: those of configs/, then the candidates."""
    own = {path.stem: path for path in sorted((ROOT / "configs").glob("*.yaml")) if _is_for_cifar10(path)}
    candidates = {path.stem: path for path in sorted(CANDIDATES.glob("*.yaml"))}
    return {name: own[name] for name in RECIPES} | own | candidates


def _is_for_cifar10(path: Path) -> bool:
    data = read_recipe(path).tree.get("data", {})
    return data.get("prepare") == "cifar10" and not data.get("classes")


def trained(out: Path) -> set[Key]:
    """All rows in OUT, also those without scores."""
    found = (NAMED.fullmatch(path.name) for path in out.glob("*-seed*"))
    keys = (Key(match["recipe"], int(match["seconds"]), int(match["seed"])) for match in found if match)
    return {key for key in keys if key.recipe in files()}


def finished(out: Path) -> dict[Key, Row]:
    """All rows in OUT that a judge has scored."""
    rows = {}
    for key in sorted(trained(out)):
        if paths := sorted((out / key.name).glob("scores-*.json")):
            last = max(path.stat().st_mtime for path in paths)
            scores = {path.stem.partition("-")[2]: load_scores(path) for path in paths}
            rows[key] = Row(scores, datetime.date.fromtimestamp(last))
    return rows


def train(recipe: str, run_dir: Path, args: Namespace, own: Sequence[str]) -> int:
    """Trains in `run_dir`, or goes on there. own: settings of this training. Returns the exit code."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", *shlex.split(args.launch)]
    script = [str(ROOT / "distgan" / "train.py"), "--config", str(files()[recipe])]
    return subprocess.run([*launch, *script, *overrides_of(run_dir, args, own)]).returncode


def overrides_of(run_dir: Path, args: Namespace, own: Sequence[str]) -> list[str]:
    """All settings of a training that are not its recipe's: those of the command line, then this benchmark's."""
    settings = [f"run.dir={run_dir.parent}", f"run.name={run_dir.name}", f"data.path={args.data}", "data.prepare=null"]
    only = ["evaluate.every_images=null", "best.patience=null", "wandb.mode=disabled", *own]
    return [*args.overrides, *settings, *only]


def emptied(path: Path) -> Path:
    """The path, without what a stopped call has left there. Raises LaunchError if a training still writes to it."""
    if path.exists():
        with locked(path):
            shutil.rmtree(path)
    return path


def budget(seconds: int, before: int, speed: float | None) -> list[str]:
    """The settings that end a training. before: the seconds that it has behind it. speed: images per second, of which
    `seconds` are the budget; None: the wall clock's seconds are.
    """
    if speed is None:
        return [f"train.seconds={seconds - before}", f"train.images={UNLIMITED}"]
    return ["train.seconds=null", f"train.images={max(1, round(seconds * speed))}"]


def add_row(key: Key, args: Namespace, speed: float | None, device: torch.device) -> int:
    """Makes the directory of a row: training and grid. Returns the training's exit code; if not 0, there is no row.

    It goes on from the longest shorter row of the same recipe and seed. Raises LaunchError if a training of a killed
    call still goes on in the partial one.
    """
    row = args.out / key.name
    partial = emptied(row.with_name(f"{row.name}.partial"))
    shorter = (known for known in trained(args.out) if known < key and known._replace(seconds=key.seconds) == key)
    before = max(shorter, default=None)
    if before:
        shutil.copytree(args.out / before.name, partial, ignore=shutil.ignore_patterns("scores-*.json"))
    own = [f"run.seed={key.seed}", *budget(key.seconds, before.seconds if before else 0, speed)]
    if code := train(key.recipe, partial, args, own):
        said = f"{key.recipe} for {key.seconds} s, seed {key.seed}: failed (exit {code}), as said above"
        print(said, file=sys.stderr, flush=True)
        return code
    generator = load_generator(partial / LAST, device)
    save_png(to_grid(generator.sample(range(ROWS * COLUMNS)), COLUMNS), partial / "grid.png")
    partial.rename(row)
    return 0


def judge(row: Path, evaluators: Mapping[str, Evaluator], device: torch.device) -> None:
    """Adds the scores that a row does not have yet: ROW/scores-NAME.json for each judge."""
    paths = {name: row / f"scores-{name}.json" for name in evaluators}
    missing = {name: path for name, path in paths.items() if not path.is_file()}
    if missing:
        generator = load_generator(row / LAST, device)
        for name, path in missing.items():
            save_scores(path, evaluators[name].evaluate(generator))
