"""What the command line says, and that an OUT is used with one set of settings."""

from __future__ import annotations

import argparse
import json
from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.common.arguments import whole, wholes
from benchmarks.quality.rows import RECIPES, budget, files, overrides_of
from distgan.config.keys import flatten
from distgan.config.load import load_config
from distgan.config.recipes import read_recipe
from distgan.config.registry import short_name
from distgan.training.run_dir import write_text
from distgan.utils.errors import ConfigError, QualityError
from distgan.utils.safe_io import read_json

PLACES = ("run.dir", "run.name", "data.path", "data.prepare", "data.classes")
ENDS = ("train.seconds", "train.images", "evaluate.every_images", "best.patience")
OWN = (*PLACES, *ENDS, "run.seed", "wandb.mode")  # keys that are no override's
JUDGES = "efficientnet_lite0,classifier"  # the first is flattered by recipes whose D is made of its features
MAX_BYTES = 1 << 18  # of a file of settings


class Judge(NamedTuple):
    extractor: str
    weights: Path | None
    """A file, for an extractor that needs one."""

    @property
    def name(self) -> str:
        """In names of files and scores."""
        return short_name(self.extractor)


def parse(arguments: Sequence[str], description: str | None = None) -> argparse.Namespace:
    """Raises ConfigError for recipes and keys that are not to be had here, and for a chart that cannot be drawn."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--recipes", default=",".join(RECIPES), type=lambda text: list(dict.fromkeys(text.split(","))))
    parser.add_argument("--seconds", default="60,300,600", type=lambda text: sorted(set(wholes(text))))
    parser.add_argument("--seeds", default="0", type=seeds)
    parser.add_argument("--budget", choices=("seconds", "images"), default="seconds")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="of the speeds, for --budget images")
    parser.add_argument("--turn-seconds", type=whole, default=30, help="of each turn that measures a speed")
    parser.add_argument("--count", type=int, default=5_000)
    parser.add_argument("--reference-count", type=int, default=10_000)
    parser.add_argument("--extractors", default=JUDGES, type=judges, metavar="NAME[=WEIGHTS],...")
    parser.add_argument("--launch", default="", help='for accelerate launch, with the sign =: --launch="--multi_gpu"')
    parser.add_argument("--into", type=Path, help="document whose table is replaced")
    parser.add_argument("--chart", type=Path, metavar="FILE.svg")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    args = parser.parse_intermixed_args(arguments)
    if unknown := set(args.recipes) - set(files()):
        raise ConfigError(f"no recipe for CIFAR-10: {', '.join(sorted(unknown))}; there are {', '.join(files())}")
    for override in args.overrides:
        if (key := override.split("=")[0]) in OWN:
            raise ConfigError(f"{key} is set by this benchmark, by its own rule for every row; leave {override} out")
    if args.chart:
        check_chart(args.chart, args.extractors, args.out)
    if args.clock == "cpu":
        check_clock(args)
    args.out, args.data = args.out.resolve(), args.data.resolve()
    return args


def seeds(text: str) -> list[int]:
    """0,1,2 -> [0, 1, 2]."""
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ArgumentTypeError(f"{text!r} must be whole numbers, at least 0, such as 0,1,2")
    return list(dict.fromkeys(map(int, parts)))


def judges(text: str) -> list[Judge]:
    """efficientnet_lite0,inception=FILE -> a judge each."""
    parts = [part.partition("=") for part in text.split(",")]
    made = [Judge(name, Path(file).resolve() if file else None) for name, _, file in parts]
    if len({each.name for each in made}) < len(made):
        raise ArgumentTypeError(f"{text!r} names a judge twice")
    return made


def check_overrides(args: argparse.Namespace) -> None:
    """Raises ConfigError if no recipe takes the overrides: a line for each mistake, which names its recipes.

    What some recipes take is no mistake here: the trainings of the others fail, and their rows say so.
    """
    told: dict[str, list[str]] = {}
    for recipe in args.recipes:
        own = overrides_of(args.out / recipe, args, budget(args.seconds[0], 0, None))
        try:
            load_config(files()[recipe], own)
        except ConfigError as error:
            for line in str(error).splitlines():
                told.setdefault(line, []).append(recipe)
        else:
            return
    raise ConfigError("\n".join(f"{', '.join(recipes)}: {line}" for line, recipes in told.items()))


def check_chart(path: Path, chosen: Sequence[Judge], out: Path) -> None:
    """Raises ConfigError if there would be nothing to draw, or not as an SVG, or no directory for it. out: is made."""
    if path.suffix != ".svg":
        raise ConfigError(f"--chart {path}: the chart is an SVG; call it {path.with_suffix('.svg')}")
    if path.is_dir():
        raise ConfigError(f"--chart {path} is a directory; name a file in it, such as {path / 'quality.svg'}")
    if not path.parent.is_dir() and path.parent.resolve() != out.resolve():
        raise ConfigError(f"--chart {path}: there is no directory {path.parent}; make it, or name another file")
    if all(each.extractor == "none" for each in chosen):
        raise ConfigError("--chart shows Frechet distances, and the extractor none has none; leave --chart out")


def check_clock(args: argparse.Namespace) -> None:
    """Raises ConfigError where the CPU time of a training is not the time that it takes alone."""
    if args.budget != "images" or args.launch or "train.cpu_threads=1" not in args.overrides:
        rule = "is for --budget images with one process of one thread"
        raise ConfigError(f"--clock cpu {rule}; add --budget images train.cpu_threads=1, and no --launch")
    if torch.cuda.is_available():
        raise ConfigError("--clock cpu counts a CPU's time, and training is on the GPU here; use --clock wall")


def keep_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Writes them at the first call. Raises QualityError at a later one that differs, naming the first difference."""
    if not path.is_file():
        write_text(path, json.dumps(settings, indent=1) + "\n")
    check_same(path, read_json(path, MAX_BYTES), settings)


def check_same(path: Path, known: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Raises QualityError that names the first difference of what a file has and this call."""
    for name in dict.fromkeys((*settings, *known)):
        if known.get(name) != settings.get(name):
            this = f"{path} has {name}={known.get(name)}, this call has {settings.get(name)}"
            raise QualityError(f"{this}; choose another OUT for it")


def keep_all(
    out: Path, settings: Mapping[str, Any], protocols: Mapping[str, Mapping[str, Any]], recipes: Sequence[str]
) -> None:
    """Keeps the settings of all rows, each judge's and each recipe's own: further judges and recipes may come.

    Raises QualityError if one differs from that of an earlier call, or if OUT is of an earlier version.
    """
    if old := next(out.glob("*-*/scores.json"), None):
        raise QualityError(f"{old} is of an earlier version, whose rows have one judge and no seed; choose another OUT")
    keep_settings(out / "settings.json", settings)
    for name, protocol in protocols.items():
        keep_settings(out / f"judge-{name}.json", protocol)
    for name in recipes:
        keep_settings(out / f"recipe-{name}.json", of_training(read_recipe(files()[name]).tree))


def of_training(recipe: dict[str, Any]) -> dict[str, Any]:
    """The keys of a recipe that its rows depend on."""
    sections = {name: section for name, section in recipe.items() if name not in ("run", "evaluate", "best", "wandb")}
    return {key: value for key, value in flatten(sections).items() if key not in OWN}
