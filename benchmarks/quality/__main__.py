"""Quality against seconds of training, for every recipe, by one protocol: one command makes table, grids and chart.

python -m benchmarks.quality OUT --data SHARDS [--recipes dcgan,sngan,...] [--seconds 60,300,600] [--seeds 0]
    [--budget seconds|images] [--clock wall|cpu] [--extractors efficientnet_lite0,classifier] [--count 5000]
    [--reference-count 10000] [--launch="--multi_gpu"] [--into docs/quality.md] [--chart FILE.svg] [KEY=VALUE ...]

SHARDS: CIFAR-10 by `distgan prepare cifar10`. Recipes: those of configs/ for all of its classes, and the candidates in
benchmarks/quality/candidates. A row of the table is a run directory for each seed, OUT/RECIPE-SECONDS-seedSEED, which
has grid.png and scores-EXTRACTOR.json of each judge, too. It goes on from the longest finished row of its recipe and
seed that is shorter; only training counts, not start, evaluation and export. Until it is whole it is called
RECIPE-SECONDS-seedSEED.partial: what was stopped is made anew, what is finished is not done again, and a later call may
bring further recipes, seconds, seeds and judges. OUT/results.md has all rows. What is not as in OUT/settings.json,
OUT/judge-EXTRACTOR.json or OUT/recipe-RECIPE.json needs another OUT.

--budget seconds: of the wall clock, so no row may be disturbed by other work. --budget images: first the recipes train
alone, in turns (OUT/speed.json); then a row trains as many images as its recipe sees in its seconds at the median of
these speeds. What it learns depends on the images only, so other work may go on meanwhile. --clock cpu: the speeds
are by the CPU time of a training (of one process with train.cpu_threads=1), so other work may go on then, too.
--chart: Frechet distance against seconds, a panel for each judge.
KEY=VALUE is for every recipe; what none of them takes is refused at once. Exit code 1: a recipe failed, the others are
measured.

seed_frogs is left out: it learns frogs only, so its reference is another one, and its values belong in another table.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from benchmarks.common.command import exit_code_of, spoken
from benchmarks.common.machine import processor
from benchmarks.common.markdown import filled
from benchmarks.quality import speeds
from benchmarks.quality.chart import chart, check_curves
from benchmarks.quality.options import Judge, check_overrides, keep_all, parse
from benchmarks.quality.rows import Key, add_row, finished, judge, trained
from benchmarks.quality.table import NAME, Asked, page
from distgan.config.load import validate
from distgan.metrics.evaluator import Evaluator
from distgan.training.run_dir import write_text


def hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(device)}"
    return f"{processor()}, {torch.get_num_threads()} threads, no GPU"


def evaluator_of(chosen: Judge, args: argparse.Namespace, device: torch.device) -> Evaluator:
    """Raises ConfigError, QualityError or DataError."""
    asked: dict[str, Any] = {"extractor": chosen.extractor, "count": args.count}
    asked |= {"reference_count": args.reference_count, "weights": chosen.weights and str(chosen.weights)}
    config = validate({"evaluate": asked, "data": {"path": str(args.data)}}, "the command line")
    return Evaluator(config.evaluate, config.data, device, show=True)


def keys(args: argparse.Namespace) -> list[Key]:
    """All rows asked for, in the order in which they are made: a complete table of the first seed first."""
    return [Key(recipe, seconds, seed) for seed in args.seeds for recipe in args.recipes for seconds in args.seconds]


def report(args: argparse.Namespace, failed: Mapping[Key, int], settings: Mapping[str, Any], command: str) -> str:
    """Writes OUT/results.md, the document and the chart; returns the table."""
    rows = finished(args.out)
    asked = Asked(args.recipes, args.seconds, [each.name for each in args.extractors])
    text = page(rows, failed, asked, settings, command, speeds.told(args.out, args.clock))
    write_text(args.out / "results.md", f"{text}\n")
    if args.into:
        write_text(args.into, filled(args.into, NAME, text))
    if args.chart and (drawn := chart(rows, asked.all_judges(rows))):
        write_text(args.chart, drawn)
    return text


def measure(args: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Makes all rows that are missing, and the table after each. Returns 1 if a recipe failed, else 0."""
    check_overrides(args)
    if args.into:
        filled(args.into, NAME, "")  # a document without marks is better known before
    if args.chart:
        check_curves({*args.recipes, *(key.recipe for key in trained(args.out))})
    names = {args.out: "OUT", args.data: "SHARDS"} | {chosen.weights: "WEIGHTS" for chosen in args.extractors}
    command = spoken("benchmarks.quality", arguments, names)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    evaluators = {chosen.name: evaluator_of(chosen, args, device) for chosen in args.extractors}
    machine = {"hardware": hardware(device), "torch": torch.__version__, "python": platform.python_version()}
    settings = {"overrides": args.overrides, "launch": args.launch, "budget": args.budget, "clock": args.clock}
    settings |= machine
    args.out.mkdir(parents=True, exist_ok=True)
    protocols = {name: each.protocol.model_dump(mode="json") for name, each in evaluators.items()}
    keep_all(args.out, settings, protocols, args.recipes)
    known, broken = speeds.measured(args, machine) if args.budget == "images" else ({}, {})
    failed: dict[Key, int] = {}
    for key in keys(args):
        before = (code for other, code in failed.items() if key._replace(seconds=other.seconds) == other)
        if key not in trained(args.out):
            code = broken.get(key.recipe) or next(before, 0) or add_row(key, args, known.get(key.recipe), device)
            failed |= {key: code} if code else {}
        if key not in failed:
            judge(args.out / key.name, evaluators, device)
        report(args, failed, settings, command)
    print(report(args, failed, settings, command))
    return 1 if failed else 0


def main() -> int:
    """Returns the exit code; 2: a mistake to mend, told in a sentence."""
    return exit_code_of(lambda: measure(parse(sys.argv[1:], __doc__), sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
