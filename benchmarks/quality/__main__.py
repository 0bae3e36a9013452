"""Quality against seconds of training, for every recipe, by one protocol: one command makes the table and the grids.

python -m benchmarks.quality OUT --data SHARDS [--recipes dcgan,sngan,...] [--seconds 60,300,600]
    [--count 5000] [--reference-count 10000] [--extractor efficientnet_lite0] [--launch="--multi_gpu"]
    [--into docs/quality.md] [KEY=VALUE ...]

SHARDS: CIFAR-10 by `distgan prepare cifar10`. A row of the table is a run directory, OUT/RECIPE-SECONDS, which has
scores.json and grid.png, too. It goes on from the longest finished row of its recipe that is shorter; only training
counts, not start, evaluation and export. Until it is whole it is called RECIPE-SECONDS.partial: what was stopped is
made anew, what is finished is not done again. OUT/results.md has all rows. What is not as in OUT/settings.json needs
another OUT.
KEY=VALUE is for every recipe. Exit code 1: a recipe failed, the others are measured.

seed_frogs is left out: it learns frogs only, so its reference is another one, and its values belong in another table.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.common.markdown import filled
from distgan.config.load import validate
from distgan.inference.generator import load_generator
from distgan.metrics.evaluator import Evaluator
from distgan.metrics.protocol import Scores, load_scores, save_scores
from distgan.metrics.registry import SHAPES, full_name
from distgan.training.export import LAST
from distgan.training.run_dir import locked, write_text
from distgan.utils.errors import ConfigError, DistganError, QualityError
from distgan.utils.images import save_png, to_grid
from distgan.utils.safe_io import read_json

ROOT = Path(__file__).resolve().parent.parent.parent
RECIPES = ("dcgan", "sngan", "sngan_conditional", "r3gan", "cifar10")
PLACES = ("run.dir", "run.name", "data.path", "data.prepare", "data.classes")
OWN = (*PLACES, "train.seconds", "evaluate.every_images", "best.patience", "wandb.mode")  # keys that are no override's
SHOWN = ("fd", "kd", "precision", "recall", "coverage")
NAME = "training"  # of the table's place in a document
ROWS, COLUMNS = 10, 10  # of a grid: a class in each column
Key = tuple[str, int]  # recipe, seconds


class Row(NamedTuple):
    scores: Scores
    date: datetime.date


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Raises ConfigError for recipes and keys that are not to be had here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--recipes", default=",".join(RECIPES), type=lambda text: text.split(","))
    parser.add_argument("--seconds", default="60,300,600", type=whole_seconds)
    parser.add_argument("--count", type=int, default=5_000)
    parser.add_argument("--reference-count", type=int, default=10_000)
    parser.add_argument("--extractor", default="efficientnet_lite0")
    parser.add_argument("--launch", default="", help='for accelerate launch, with the sign =: --launch="--multi_gpu"')
    parser.add_argument("--into", type=Path, help="document whose table is replaced")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    args = parser.parse_intermixed_args(arguments)
    if unknown := set(args.recipes) - set(RECIPES):
        raise ConfigError(f"no recipe for CIFAR-10: {', '.join(sorted(unknown))}; there are {', '.join(RECIPES)}")
    for override in args.overrides:
        if (key := override.split("=")[0]) in OWN:
            raise ConfigError(f"{key} is set by this benchmark, the same for all rows; leave {override} out")
    args.out, args.data = args.out.resolve(), args.data.resolve()
    return args


def whole_seconds(text: str) -> list[int]:
    """60,300 -> [60, 300]. Raises ValueError for what is no whole number above 0."""
    seconds = sorted({int(part) for part in text.split(",")})
    if seconds[0] < 1:
        raise ValueError(text)
    return seconds


def keep_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Writes them at the first call. Raises QualityError at a later one that differs, naming the first difference."""
    if not path.is_file():
        write_text(path, json.dumps(settings, indent=1) + "\n")
    known = read_json(path, 1 << 16)
    for name, value in settings.items():
        if known.get(name) != value:
            raise QualityError(f"{path} has {name}={known.get(name)}, this call has {value}; choose another OUT for it")


def hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(device)}"
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, no GPU"


def train(recipe: str, seconds: int, run_dir: Path, args: argparse.Namespace) -> int:
    """Trains so many seconds more in `run_dir`; returns the exit code."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", *shlex.split(args.launch)]
    script = [str(ROOT / "distgan" / "train.py"), "--config", str(ROOT / "configs" / f"{recipe}.yaml")]
    settings = [f"run.dir={run_dir.parent}", f"run.name={run_dir.name}", f"data.path={args.data}", "data.prepare=null"]
    only = [f"train.seconds={seconds}", "evaluate.every_images=null", "best.patience=null", "wandb.mode=disabled"]
    return subprocess.run([*launch, *script, *args.overrides, *settings, *only]).returncode


def add_row(recipe: str, seconds: int, args: argparse.Namespace, evaluator: Evaluator, device: torch.device) -> int:
    """Makes OUT/RECIPE-SECONDS: training, grid, scores. Returns the training's exit code; if not 0, there is no row.

    Raises LaunchError if a training of a killed call still goes on in the partial one.
    """
    row = args.out / f"{recipe}-{seconds}"
    partial = row.with_name(f"{row.name}.partial")
    if partial.exists():
        with locked(partial):
            shutil.rmtree(partial)
    before = max((known for name, known in finished(args.out) if name == recipe and known < seconds), default=0)
    if before:
        shutil.copytree(args.out / f"{recipe}-{before}", partial)
    if code := train(recipe, seconds - before, partial, args):
        print(f"{recipe} for {seconds} s: failed (exit {code}), as said above", file=sys.stderr, flush=True)
        return code
    generator = load_generator(partial / LAST, device)
    save_png(to_grid(generator.sample(range(ROWS * COLUMNS)), COLUMNS), partial / "grid.png")
    save_scores(partial / "scores.json", evaluator.evaluate(generator))
    partial.rename(row)
    return 0


def finished(out: Path) -> dict[Key, Row]:
    """All rows in OUT."""
    rows = {}
    for path in out.glob("*-*/scores.json"):
        recipe, _, seconds = path.parent.name.partition("-")
        if recipe in RECIPES and seconds.isdecimal():
            rows[recipe, int(seconds)] = Row(load_scores(path), datetime.date.fromtimestamp(path.stat().st_mtime))
    return rows


def table(
    rows: Mapping[Key, Row], failed: Mapping[Key, int], asked: Iterable[int], settings: Mapping[str, Any], command: str
) -> str:
    """Markdown, every recipe for all seconds that were asked for or found. failed: exit codes."""
    extractor = settings["extractor"]
    names = {name: full_name(name, extractor) for name in SHOWN}
    if extractor == "none":
        names = {f"shapes_{name}": f"shapes_{name}" for name in SHAPES}
    lines = [["recipe", "seconds", "images", *names], ["---"] * (3 + len(names))]
    for recipe in RECIPES:
        for seconds in sorted({*asked, *(seconds for _, seconds in rows)}):
            key = recipe, seconds
            cells = [f"failed (exit {failed[key]})" if key in failed else "not measured"] * (1 + len(names))
            if key in rows:
                scores = rows[key].scores
                values = (scores.values.get(name) for name in names.values())
                cells = [f"{scores.images_seen:,}", *("-" if value is None else f"{value:.4g}" for value in values)]
            lines.append([recipe, str(seconds), *cells])
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{text}\n\n{facts(rows, settings, command)}" if rows else text


def facts(rows: Mapping[Key, Row], settings: Mapping[str, Any], command: str) -> str:
    """How the rows were made."""
    dates = sorted({str(row.date) for row in rows.values()})
    reference = f" against {settings['reference_count']:,}" if settings["reference_count"] else ""
    return (
        f"`{command}`; {settings['hardware']}; torch {settings['torch']}, Python {settings['python']}; "
        f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}, n = 1; {settings['extractor']}, {settings['count']:,} "
        f"images{reference}, data {settings['reference_digest'][:12]}."
    )


def measure(args: argparse.Namespace, command: str) -> int:
    """Makes all rows that are missing, and the table after each. Returns 1 if a recipe failed, else 0."""
    if args.into:
        filled(args.into, NAME, "")  # a document without marks is better known before
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    asked = {"extractor": args.extractor, "count": args.count, "reference_count": args.reference_count}
    config = validate({"evaluate": asked, "data": {"path": str(args.data)}}, "the command line")
    evaluator = Evaluator(config.evaluate, config.data, device, show=True)
    machine = {"hardware": hardware(device), "torch": torch.__version__, "python": platform.python_version()}
    given = {"overrides": args.overrides, "launch": args.launch}
    settings = {**evaluator.protocol.model_dump(mode="json"), **given, **machine}
    args.out.mkdir(parents=True, exist_ok=True)
    keep_settings(args.out / "settings.json", settings)
    failed: dict[Key, int] = {}
    text = ""
    for recipe in args.recipes:
        code = 0
        for seconds in args.seconds:
            if (recipe, seconds) not in finished(args.out):
                code = code or add_row(recipe, seconds, args, evaluator, device)
                failed |= {(recipe, seconds): code} if code else {}
            text = table(finished(args.out), failed, args.seconds, settings, command)
            write_text(args.out / "results.md", f"{text}\n")
            if args.into:
                write_text(args.into, filled(args.into, NAME, text))
    print(text)
    return 1 if failed else 0


def main() -> int:
    """Returns the exit code; 2: a mistake to mend, told in a sentence."""
    try:
        return measure(parse(sys.argv[1:]), shlex.join(["python", "-m", "benchmarks.quality", *sys.argv[1:]]))
    except (DistganError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
