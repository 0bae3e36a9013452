"""The tutorial's recipe in distgan (seed_frogs) and in Keras 3, from the same weights, step by step: losses laid over
each other.

python -m benchmarks.quality.tutorial OUT --data SHARDS [--steps 500] [--keras-python PYTHON] [--threads N] [--small]
    [--into docs/quality.md]

SHARDS: CIFAR-10 by `distgan prepare cifar10`. Both begin with the same weights, see the same real images in the same
order, and get the same latents, noise on the labels and dropout masks, out of OUT/exchange.npz. So they differ by
roundings alone, which a GAN amplifies. How fast, the third training shows: distgan once more, each initial weight
moved to the next number that its precision has. All three are on the CPU, in float32.

OUT gets results.json (all losses), losses.svg and results.md. A training that OUT has by the same settings is not
repeated: the same command goes on after an interruption. --into: table between its marks in a document, and chart
beside it. --keras-python: an environment that has Keras 3 and one of its backends; none of distgan's packages is needed
there. --small: narrow networks, for a rehearsal.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from benchmarks.common.arguments import whole
from benchmarks.common.command import exit_code_of, spoken
from benchmarks.common.machine import processor
from benchmarks.common.markdown import filled
from benchmarks.common.svg import charts_svg
from benchmarks.quality.exchange import exchange_of
from distgan.config.load import load_config
from distgan.config.schema import Config
from distgan.training.own_loop import Trainer
from distgan.training.report.charts import Curve, line_chart
from distgan.training.run_dir import write_text
from distgan.utils.errors import QualityError
from distgan.utils.files import atomic_path
from distgan.utils.safe_io import read_json

ROOT = Path(__file__).resolve().parent.parent.parent
NAME = "tutorial"  # of the table's place in a document
CHART = "tutorial_losses.svg"  # beside the document
SIDES = ("distgan", "keras", "nudged")
LABELS = {"distgan": "distgan", "keras": "Keras", "nudged": "distgan, weights nudged"}
PLAYERS = {"loss_d": "D", "loss_g": "G"}
FIRST = (1, 10, 50)  # steps over which the largest difference is told
WINDOW = 25  # steps of the mean that smooths a curve
SMALL = ("generator.width=8", "generator.stem_channels=8", "discriminator.width=8")
LOWEST = -8.0  # of the chart's powers of ten: below float32's roundings
SHOWN = 10  # steps between two lines of progress
ANOTHER = (
    "name one that has Keras 3: python -m venv V && V/bin/pip install keras torch, then --keras-python V/bin/python"
)
MAX_BYTES = 1 << 26  # of a file of losses
Losses = Mapping[str, Any]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True, metavar="SHARDS")
    parser.add_argument("--steps", type=whole, default=500)
    parser.add_argument("--keras-python", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--threads", type=whole, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--into", type=Path, metavar="FILE")
    return parser.parse_args(arguments)


def configuration(args: argparse.Namespace) -> Config:
    """seed_frogs on these images, in full precision. Raises ConfigError."""
    own = [f"data.path={args.data.resolve()}", "data.prepare=null", f"train.cpu_threads={args.threads}"]
    return load_config("seed_frogs", [*own, "train.precision=no", *(SMALL if args.small else ())])


# The three trainings


def new_trainer(config: Config) -> Trainer:
    """On the CPU, whatever else the machine has. Raises ConfigError, DataError."""
    torch.set_num_threads(config.train.cpu_threads or 1)
    return Trainer.from_config(config, accelerator=Accelerator(cpu=True, mixed_precision="no"))


def check_images(trainer: Trainer) -> None:
    """Raises QualityError for images that the tutorial's networks in Keras are not made for."""
    size, channels = trainer.reals.size, trainer.reals.channels
    if (size, channels) != (32, 3):
        raise QualityError(
            f"the tutorial has images of 32x32 in RGB, and those of --data are {size}x{size} with {channels} channel(s)"
            "; use CIFAR-10: distgan prepare cifar10 --out data/cifar10"
        )


@torch.no_grad()
def nudge(trainer: Trainer) -> None:
    """Moves every weight to the next larger number."""
    for player in trainer.core.players.values():
        for weight in player.weights:
            weight.copy_(torch.nextafter(weight, torch.full_like(weight, torch.inf)))


def train_distgan(trainer: Trainer, steps: int, name: str) -> dict[str, Any]:
    """Losses of each step, before its updates."""
    found, begin = [], time.perf_counter()
    for number, metrics in enumerate(trainer.steps(steps), 1):
        found.append((metrics["loss/d"].item(), metrics["loss/g"].item()))
        if number % SHOWN == 0:
            print(f"{name}: step {number} of {steps}, {time.perf_counter() - begin:.0f} s", flush=True)
    of_d, of_g = zip(*found, strict=True)
    seconds = (time.perf_counter() - begin) / steps
    return {"loss_d": of_d, "loss_g": of_g, "seconds_per_step": seconds, "versions": {"torch": torch.__version__}}


def keras(args: argparse.Namespace, *arguments: str | Path) -> str:
    """What keras_tutorial.py says in Keras' own Python; its progress goes to the screen. Raises QualityError."""
    command = [args.keras_python, "-m", "benchmarks.quality.keras_tutorial", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(args.threads)}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "TF_NUM_INTRAOP_THREADS": str(args.threads)}
    asked = not arguments
    try:
        done = subprocess.run(command, env=environment, capture_output=asked, text=True)
    except OSError as error:
        raise QualityError(f"{args.keras_python} cannot be started ({error.strerror}); {ANOTHER}") from error
    if done.returncode and asked:
        reason = (done.stderr.splitlines() or ["it gives no reason"])[-1]
        raise QualityError(f"{args.keras_python} has no Keras 3 with a backend ({reason}); {ANOTHER}")
    if done.returncode:
        raise QualityError(f"the training in Keras failed (exit {done.returncode}), as said above")
    return done.stdout or ""


def train_keras(args: argparse.Namespace, trainer: Trainer) -> dict[str, Any]:
    """Losses of each step in Keras, from what the trainer begins with and will draw. Raises QualityError."""
    exchange, losses = args.out / "exchange.npz", args.out / "keras.json.partial"
    arrays: dict[str, Any] = exchange_of(trainer, args.steps)
    with atomic_path(exchange) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
    keras(args, exchange.resolve(), losses.resolve())
    result: dict[str, Any] = read_json(losses, MAX_BYTES)
    losses.unlink()
    return result


def train(side: str, args: argparse.Namespace) -> dict[str, Any]:
    """One of the three trainings. Raises DistganError."""
    trainer = new_trainer(configuration(args))
    if side == "keras":
        return train_keras(args, trainer)
    if side == "nudged":
        nudge(trainer)
    return train_distgan(trainer, args.steps, LABELS[side])


def losses_of(side: str, args: argparse.Namespace, settings: Mapping[str, Any]) -> Losses:
    """Those in OUT, if they were made by these settings; else the side is trained."""
    path = args.out / f"{side}.json"
    if path.is_file() and settings.items() <= (known := read_json(path, MAX_BYTES))["settings"].items():
        return known
    result = {"settings": settings, "date": str(datetime.date.today()), **train(side, args)}
    write_text(path, json.dumps(result) + "\n")
    return result


# What they show


def relative(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """|ours - theirs| / |theirs| of each step."""
    return [abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True)]


def smoothed(values: Sequence[float], window: int = WINDOW) -> list[float]:
    """Means over each `window` neighbours, or over all values if they are fewer."""
    width = min(window, len(values))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return ((sums[width:] - sums[:-width]) / width).tolist()


def distance(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Mean absolute difference of the smoothed curves."""
    return float(np.mean(np.abs(np.subtract(smoothed(ours), smoothed(theirs)))))


def table(sides: Mapping[str, Losses], steps: int) -> str:
    """Markdown: distgan beside each other side, for D and for G."""
    columns = [(side, loss) for side in SIDES[1:] for loss in PLAYERS]
    rows: dict[str, list[str]] = {"": [f"{LABELS[side]}: {PLAYERS[loss]}" for side, loss in columns]}
    rows["---"] = ["---:"] * len(columns)
    pairs = [(sides["distgan"][loss], sides[side][loss]) if side in sides else None for side, loss in columns]
    for first in (number for number in FIRST if number <= steps):
        name = f"largest relative difference, steps 1 to {first}" if first > 1 else "relative difference, step 1"
        rows[name] = [f"{max(relative(*pair)[:first]):.1e}" if pair else "not measured" for pair in pairs]
    window = min(WINDOW, steps)
    name = f"mean absolute difference of the means over {window} steps, steps 1 to {steps}"
    rows[name] = [f"{distance(*pair):.3g}" if pair else "not measured" for pair in pairs]
    rows[f"mean loss of distgan, steps 1 to {steps}"] = [f"{np.mean(pair[0]):.3f}" if pair else "" for pair in pairs]
    rows["mean loss of the other"] = [f"{np.mean(pair[1]):.3f}" if pair else "not measured" for pair in pairs]
    return "\n".join(f"| {' | '.join([name, *cells])} |" for name, cells in rows.items())


def chart(sides: Mapping[str, Losses], window: int = WINDOW) -> str:
    """SVG: both losses of all sides, smoothed, and how the others' first differences from distgan grow."""
    charts = []
    for loss, player in PLAYERS.items():
        curves = [
            Curve(LABELS[side], _points(smoothed(sides[side][loss], window), window)) for side in SIDES if side in sides
        ]
        charts.append(line_chart(f"loss of {player}, mean over {window} steps", curves))
    for loss, player in PLAYERS.items():
        curves = [
            Curve(LABELS[side], _points(powers(sides["distgan"][loss], sides[side][loss])[: FIRST[-1]]), style=style)
            for style, side in enumerate(SIDES)
            if side in sides and style
        ]
        title = f"{player}, first {FIRST[-1]} steps: log10 of the relative difference"
        charts.append(line_chart(title, curves, span=(LOWEST, 0.0)))
    return charts_svg("The tutorial's recipe in distgan and in Keras", charts, "step")


def powers(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """log10 of the relative difference of each step, at least LOWEST."""
    return [math.log10(max(each, 10**LOWEST)) for each in relative(ours, theirs)]


def _points(values: Iterable[float], first: int = 1) -> list[tuple[float, float]]:
    return [(float(step), value) for step, value in enumerate(values, first)]


def facts(sides: Mapping[str, Losses], args: argparse.Namespace, command: str) -> str:
    """How the table was made."""
    versions = {name: version for side in sides.values() for name, version in side["versions"].items()}
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    seconds = "; ".join(f"{LABELS[side]}: {losses['seconds_per_step']:.1f}" for side, losses in sides.items())
    dates = " to ".join(sorted({losses["date"] for losses in sides.values()}))
    return (
        f"`{command}`; float32, CPU threads: {args.threads}, {processor()}, no GPU; {told}, Python "
        f"{platform.python_version()}; {dates}, n = 1. Seconds of a step, one training after another: {seconds}."
    )


def write_results(sides: Mapping[str, Losses], args: argparse.Namespace, command: str) -> str:
    """results.json, losses.svg and results.md, and what the document gets. Returns the table."""
    write_text(args.out / "results.json", json.dumps(sides, indent=1) + "\n")
    text = f"{table(sides, args.steps)}\n\n{facts(sides, args, command)}"
    write_text(args.out / "results.md", f"{text}\n")
    write_text(args.out / "losses.svg", chart(sides, min(WINDOW, args.steps)))
    if args.into:
        shutil.copyfile(args.out / "losses.svg", args.into.with_name(CHART))
        image = f"![Losses of D and G in distgan, in Keras, and in distgan from nudged weights]({CHART})"
        write_text(args.into, filled(args.into, NAME, f"{image}\n\n{text}"))
    return text


def command_of(arguments: Sequence[str], args: argparse.Namespace) -> str:
    names = {args.keras_python: "PYTHON", args.out: "OUT", args.data: "SHARDS"}
    return spoken("benchmarks.quality.tutorial", arguments, names)


def measure(args: argparse.Namespace, command: str) -> int:
    """Trains what is missing, and writes the results after each training that can be compared; returns 0.

    Raises DistganError.
    """
    if args.into:
        filled(args.into, NAME, "")  # a document without marks is better known before
    other = {"keras": keras(args).strip()}  # its versions
    trainer = new_trainer(configuration(args))
    check_images(trainer)
    settings = {name: getattr(args, name) for name in ("steps", "small", "threads")}
    settings |= {"data": trainer.reals.manifest_digest, "torch": torch.__version__}
    args.out.mkdir(parents=True, exist_ok=True)
    sides: dict[str, Losses] = {}
    for side in SIDES:
        sides[side] = losses_of(side, args, settings | other if side == "keras" else settings)
        if len(sides) > 1:
            text = write_results(sides, args, command)
    print(text)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code; 2: a mistake to mend, told in a sentence."""
    given = sys.argv[1:] if arguments is None else arguments
    args = parse(given)
    return exit_code_of(lambda: measure(args, command_of(given, args)))


if __name__ == "__main__":
    sys.exit(main())
