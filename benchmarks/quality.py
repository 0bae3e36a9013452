"""Quality against seconds of training, for every recipe, by one protocol: one command makes the table and the grids.

python benchmarks/quality.py OUT --data SHARDS [--recipes dcgan,sngan,...] [--seconds 60,300,600]
    [--count 5000] [--reference-count 10000] [--extractor efficientnet_lite0] [--launch "--multi_gpu"]
    [--into docs/quality.md] [KEY=VALUE ...]

SHARDS: CIFAR-10 by `distgan prepare cifar10`. Each recipe trains for the first number of seconds, is scored, goes on to
the second, and so on; only training counts, not start, evaluation and export. What is in OUT is not done again: the
same command goes on where it was stopped. OUT gets RECIPE-SECONDS.safetensors, .png, .json and results.md.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path

import torch

from distgan.config import DataConfig, EvaluateConfig
from distgan.files import atomic_path
from distgan.generator import load_generator
from distgan.metrics.evaluator import Evaluator
from distgan.metrics.names import full_name
from distgan.metrics.protocol import Protocol, Scores, load_scores, save_scores
from distgan.pictures import save_png, to_grid

ROOT = Path(__file__).parent.parent
RECIPES = ("dcgan", "sngan", "sngan_conditional", "r3gan", "cifar10")
SHOWN = ("fd", "kd", "precision", "recall", "coverage")
MARK = "<!-- training: {} -->"  # the table's place in a document
ROWS, COLUMNS = 10, 10  # of a grid: a class in each column


def train(recipe: str, seconds: float, out: Path, args: argparse.Namespace) -> Path:
    """Trains so many seconds more; returns the exported generator."""
    script = [str(ROOT / "distgan" / "train.py"), "--config", str(ROOT / "configs" / f"{recipe}.yaml")]
    settings = [f"run.dir={out}", f"run.name={recipe}", f"data.path={args.data}", "data.prepare=null"]
    budget = [f"train.seconds={seconds:g}", "evaluate.every_images=null", "best.patience=null"]
    launch = [sys.executable, "-m", "accelerate.commands.launch", *shlex.split(args.launch)]
    subprocess.run([*launch, *script, *settings, *budget, "wandb.mode=disabled", *args.overrides], check=True)
    return out / recipe / "generator.safetensors"


def score(path: Path, args: argparse.Namespace, device: torch.device) -> Scores:
    config = EvaluateConfig(extractor=args.extractor, count=args.count, reference_count=args.reference_count)
    generator = load_generator(path, device)
    classes = generator.class_names or None
    return Evaluator(config, DataConfig(path=args.data, classes=classes), device, show=True).evaluate(generator)


def measure(recipe: str, out: Path, args: argparse.Namespace, device: torch.device) -> dict[float, Scores]:
    """The scores by seconds of training."""
    rows: dict[float, Scores] = {}
    for before, seconds in itertools.pairwise([0.0, *args.seconds]):
        place = out / f"{recipe}-{seconds:g}"
        if not (told := place.with_suffix(".json")).is_file():
            exported = place.with_suffix(".safetensors")
            if not exported.is_file():
                trained = train(recipe, seconds - before, out, args)
                with atomic_path(exported) as temporary:
                    temporary.write_bytes(trained.read_bytes())
            save_png(to_grid(load_generator(exported, device).sample(range(ROWS * COLUMNS))), place.with_suffix(".png"))
            save_scores(told, score(exported, args, device))
        rows[seconds] = load_scores(told)
    return rows


def table(results: dict[str, dict[float, Scores]], args: argparse.Namespace, device: torch.device) -> str:
    """Markdown; a recipe without scores has 'not measured'."""
    lines = [
        f"| recipe | seconds | pictures | {' | '.join(SHOWN)} |",
        f"| --- | --- | --- | {' | '.join('---' for _ in SHOWN)} |",
    ]
    protocol: Protocol | None = None
    for recipe in RECIPES:
        for seconds in args.seconds:
            scores = results.get(recipe, {}).get(seconds)
            cells = ["not measured"] * (1 + len(SHOWN))
            if scores:
                protocol = scores.protocol
                names = [full_name(name, scores.protocol.extractor) for name in SHOWN]
                cells = [f"{scores.images_seen:,}", *(f"{scores.values[name]:.4g}" for name in names)]
            lines.append(f"| {recipe} | {seconds:g} | {' | '.join(cells)} |")
    if protocol is None:
        return "\n".join(lines)
    facts = (
        f"`{shlex.join(['python', 'benchmarks/quality.py', *sys.argv[1:]])}`; {hardware(device)}; torch "
        f"{torch.__version__}, Python {platform.python_version()}; {datetime.date.today()}, n = 1; "
        f"{protocol.extractor}, {protocol.count:,} pictures against {protocol.reference_count:,}, data "
        f"{protocol.reference_digest[:12]}."
    )
    return "\n".join([*lines, "", facts])


def hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(device)}"
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, no GPU"


def fill(document: Path, text: str) -> None:
    """Puts the table between its two marks."""
    begin, end = MARK.format("begin"), MARK.format("end")
    old = document.read_text()
    new, found = re.subn(f"{begin}.*?{end}", lambda _: f"{begin}\n{text}\n{end}", old, flags=re.S)
    if not found:
        raise SystemExit(f"{document} has no place for the table: put {begin} and {end} on lines of their own")
    with atomic_path(document) as temporary:
        temporary.write_text(new)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--recipes", default=",".join(RECIPES), type=lambda text: text.split(","))
    parser.add_argument("--seconds", default="60,300,600", type=lambda text: sorted(map(float, text.split(","))))
    parser.add_argument("--count", type=int, default=5_000)
    parser.add_argument("--reference-count", type=int, default=10_000)
    parser.add_argument("--extractor", default="efficientnet_lite0")
    parser.add_argument("--launch", default="", help="for accelerate launch, in quotes")
    parser.add_argument("--into", type=Path, help="document whose table is replaced")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    args = parser.parse_args()
    args.data = args.data.resolve()
    if unknown := set(args.recipes) - set(RECIPES):
        raise SystemExit(f"no recipe for CIFAR-10: {', '.join(sorted(unknown))}; there are {', '.join(RECIPES)}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    args.out.mkdir(parents=True, exist_ok=True)
    results = {recipe: measure(recipe, args.out.resolve(), args, device) for recipe in args.recipes}
    text = table(results, args, device)
    (args.out / "results.md").write_text(f"{text}\n")
    if args.into:
        fill(args.into, text)
    print(text)


if __name__ == "__main__":
    main()
