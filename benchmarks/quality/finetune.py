"""Fine-tuning against training anew: three shapes that the embedded ones do not have, 200 images of them.

python -m benchmarks.quality.finetune OUT --base RUN [--seeds 0,1,2] [--into docs/finetuning.md] [KEY=VALUE ...]

RUN: of the quickstart, `distgan train`. OUT gets the images (OUT/images, a folder for each class), their shards, others
of the same classes to compare with (OUT/held-out), and for each seed and beginning a run. Both are trained by
configs/finetune.yaml on the same number of images; the one that is trained anew has init.from=null and
discriminator.freeze_layers=0. A run that is there is not trained again. KEY=VALUE is for both.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.common.command import exit_code_of, spoken
from benchmarks.common.machine import processor
from benchmarks.common.markdown import filled, spread
from distgan.data.sources.shapes import Outline, Truth, polygon, render, truth
from distgan.metrics.protocol import load_scores
from distgan.training.run_dir import write_text
from distgan.utils.errors import QualityError

NAME = "finetuning"  # of the table's place in a document
OUTLINES: dict[str, Outline] = {
    "bolt": polygon([(0.15, -1.0), (-0.6, 0.15), (-0.05, 0.15), (-0.2, 1.0), (0.6, -0.2), (0.05, -0.2)]),
    "hourglass": polygon([(-0.65, -0.75), (0.65, -0.75), (0.12, 0.0), (0.65, 0.75), (-0.65, 0.75), (-0.12, 0.0)]),
    "house": polygon(
        [(0, -0.95), (0.85, -0.15), (0.55, -0.15), (0.55, 0.8), (-0.55, 0.8), (-0.55, -0.15), (-0.85, -0.15)]
    ),
}
IMAGES, HELD_OUT, COMPARED = 200, 6_000, 3_000
ANEW = ("init.from=null", "discriminator.freeze_layers=0")
BEGINNINGS = {"fine-tuned": (), "anew": ANEW}
VALUES = ("fd", "kd", "precision", "recall", "coverage")
EXTRACTOR = "efficientnet_lite0"


def scenes(purpose: str, count: int) -> Truth:
    """The content of `count` images, as the embedded shapes have it, with the labels of OUTLINES in turn."""
    indices = np.arange(count)
    return replace(truth(0, f"finetune-{purpose}", indices), label=indices % len(OUTLINES))


def draw(directory: Path, purpose: str, count: int) -> None:
    """Writes `count` PNGs into a folder for each class."""
    content = scenes(purpose, count)
    for place, (label, pixels) in enumerate(zip(content.label, render(content, list(OUTLINES.values())), strict=True)):
        folder = directory / list(OUTLINES)[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{place:05d}.png")


def distgan(*arguments: str | Path) -> None:
    """Runs a command of distgan. Raises QualityError if it fails."""
    code = subprocess.run([sys.executable, "-m", "distgan", *map(str, arguments)]).returncode
    if code:
        raise QualityError(f"distgan {arguments[0]} failed (exit {code}), as said above")


def prepare(out: Path) -> None:
    """OUT/data: 200 images; OUT/held-out: others of the same classes."""
    for name, purpose, count in (("data", "train", IMAGES), ("held-out", "test", HELD_OUT)):
        if not (out / name / "manifest.json").is_file():
            draw(out / "images" / purpose, purpose, count)
            distgan("prepare", "folder", out / "images" / purpose, "--out", out / name)


def measure(run: Path, base: Path, overrides: Sequence[str]) -> None:
    """Trains RUN by configs/finetune.yaml, and compares its images with the held-out ones: RUN/scores.json."""
    if (run / "scores.json").is_file():
        return
    out = run.parent
    places = [f"run.dir={out}", f"run.name={run.name}", f"data.path={out / 'data'}", f"init.from={base}"]
    distgan("train", "--config", "finetune", *places, "wandb.mode=disabled", *overrides)
    counts = ["--count", str(COMPARED), "--reference-count", str(COMPARED)]
    distgan(
        "evaluate", run, "--data", out / "held-out", *counts, "--extractor", EXTRACTOR, "--out", run / "scores.json"
    )


def table(out: Path, seeds: Sequence[int]) -> str:
    """Mean and range over the seeds, for each beginning."""
    names = [f"{value}_{EXTRACTOR}" for value in VALUES]
    lines = [["beginning", *(f"`{name}`" for name in names)], ["---"] * (1 + len(names))]
    for beginning in BEGINNINGS:
        runs = [out / f"{beginning}-{seed}" for seed in seeds]
        scores = [load_scores(run / "scores.json").values for run in runs]
        columns = [[score[name] for score in scores] for name in names]
        lines.append([beginning, *map(spread, columns)])
    real = load_scores(out / f"{next(iter(BEGINNINGS))}-{seeds[0]}" / "scores.json").real_values
    lines.append(["other real images", *(f"{real[name]:.4g}" if name in real else "-" for name in names)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def facts(seeds: Sequence[int], command: str) -> str:
    """How the table was made."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    where = f"{processor()}, {torch.get_num_threads()} threads, {gpu}"
    versions = f"torch {torch.__version__}, Python {platform.python_version()}; {datetime.date.today()}"
    seen = f"{COMPARED:,} generated images against {COMPARED:,} held-out ones"
    return f"`{command}`; {where}; {versions}, n = {len(seeds)} seeds, mean and range; {seen}."


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code; 2: a mistake to mend, told in a sentence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--seeds", default="0,1,2", type=lambda text: [int(part) for part in text.split(",")])
    parser.add_argument("--into", type=Path, help="document whose table is replaced")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    given = sys.argv[1:] if arguments is None else arguments
    args = parser.parse_intermixed_args(given)
    command = spoken("benchmarks.quality.finetune", given, {args.out: "OUT", args.base: "BASE"})
    return exit_code_of(lambda: compare(args, command))


def compare(args: argparse.Namespace, command: str) -> int:
    """Makes what is missing, and the table; returns 0. Raises DistganError."""
    if args.into:
        filled(args.into, NAME, "")  # a document without marks is better known before
    prepare(args.out)
    for seed in args.seeds:
        for beginning, own in BEGINNINGS.items():
            measure(args.out / f"{beginning}-{seed}", args.base, [f"run.seed={seed}", *own, *args.overrides])
    text = f"{table(args.out, args.seeds)}\n\n{facts(args.seeds, command)}"
    print(text)
    if args.into:
        write_text(args.into, filled(args.into, NAME, text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
