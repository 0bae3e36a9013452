"""What a training step takes on N GPUs of M machines, from what one GPU takes and what the links carry.

python -m benchmarks.scaling RECIPE --seconds 64=0.12 [--seconds 16=0.05] [--per-node 8] [--inside 3600,5]
    [--between 400,20] [--gpus 8,64,512] [--into docs/scaling.md] [KEY=VALUE ...]
python -m benchmarks.scaling --bytes [--into docs/scaling.md]    # of every recipe

--seconds BATCH=SECONDS: a step of so many images on one GPU, as `python -m benchmarks.scaling.overhead RECIPE
train.batch_size=BATCH` tells. From two batches the model knows what a step takes whatever its batch; from one it takes
that for nothing. --inside, --between: Gbit/s each way (of a GPU; of a machine) and microseconds for a message.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common.arguments import whole, wholes
from benchmarks.common.command import spoken
from benchmarks.common.markdown import filled
from benchmarks.scaling.model import ENOUGH, MAX, SIZE, Link, Prediction, line_through, stops_at, traffic
from distgan.config.load import load_config
from distgan.config.networks import RECIPES_BY_SIZE
from distgan.config.recipes import RECIPES
from distgan.training.run_dir import write_text
from distgan.utils.errors import DistganError

SIZES = {recipe: size for sizes in RECIPES_BY_SIZE.values() for size, recipe in reversed(sizes.items())}  # the smallest


def prediction_table(made: Prediction, counts: Sequence[int]) -> str:
    lines = [
        "| GPUs | waits, ms a step | batch | images/s | efficiency "
        f"| batch {made.whole} in all: a GPU's | images/s | efficiency |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for gpus in counts:
        weak, strong = made.weak(gpus), made.strong(gpus)
        own = f"{made.whole / gpus:g}" if gpus <= made.whole else "none"
        cells = [
            f"{gpus}",
            f"{1000 * made.waiting(gpus):.2f}",
            f"{made.batch * gpus:,}",
            f"{made.rate(gpus, weak, made.batch):,.0f}",
        ]
        cells += [f"{weak:.0%}", own, f"{made.rate(gpus, strong, made.whole):,.0f}", f"{strong:.0%}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def advice(made: Prediction, counts: Sequence[int]) -> str:
    """Where it stops scaling, and what helps there."""
    weak, strong = stops_at(made.weak), stops_at(made.strong)
    text = f"The same batch on every GPU: {_where(weak)}. The batch of {made.whole} shared out: {_where(strong)}"
    if strong is not None:
        why = "there is less than an image for each" if strong > made.whole else "each has too little to do"
        text += f", because {why}; then let the batch grow with the GPUs"
    text += "."
    at = weak if weak is not None else max(counts)
    half = made._replace(load=made.load._replace(gradients=made.load.gradients // 2))
    text += f" At {at} GPUs, gradients of half the bytes make {made.weak(at):.0%} {half.weak(at):.0%}"
    if (steps := made.steps_between_sums(at)) > 1:
        text += f", and an average after every {steps} steps only (local SGD), or as much accumulation, {ENOUGH:.0%}"
    return text + "."


def _where(gpus: int | None) -> str:
    return (
        f"at least {ENOUGH:.0%} efficient up to {MAX} GPUs"
        if gpus is None
        else f"below {ENOUGH:.0%} from {gpus} GPUs on"
    )


def bytes_table() -> str:
    lines = [
        "| recipe | batch | gradients, MB | batch normalisation, kB | stop and guard, bytes | waits |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for recipe in sorted(path.stem for path in RECIPES.glob("*.yaml")):
        config = load_config(recipe)
        load = traffic(config, SIZES.get(recipe, SIZE))
        numbers = f"{load.gradients / 1e6:.2f} | {load.statistics / 1e3:.1f} | {load.checks:.0f} | {load.waits}"
        lines.append(f"| {recipe} | {config.train.batch_size} | {numbers} |")
    return "\n".join(lines)


def point(text: str) -> tuple[int, float]:
    """64=0.12 -> (64, 0.12)."""
    images, seconds = text.split("=")
    if int(images) < 1 or not 0 < float(seconds) < math.inf:
        raise ValueError(text)
    return int(images), float(seconds)


def link(text: str) -> Link:
    """Gbit/s,microseconds -> Link."""
    gigabits, microseconds = (float(part) for part in text.split(","))
    if not (gigabits > 0 and microseconds >= 0):
        raise ValueError(text)
    return Link(gigabits * 1e9 / 8, microseconds * 1e-6)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="quickstart")
    parser.add_argument("--bytes", action="store_true", help="only what each recipe sends")
    parser.add_argument("--seconds", type=point, action="append", metavar="BATCH=SECONDS")
    parser.add_argument("--per-node", type=whole, default=8)
    parser.add_argument("--inside", type=link, default="3600,5", metavar="GBIT,MICROSECONDS")
    parser.add_argument("--between", type=link, default="400,20", metavar="GBIT,MICROSECONDS")
    parser.add_argument("--gpus", type=wholes, default="8,64,512")
    parser.add_argument("--into", type=Path, help="document whose table is replaced")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    args = parser.parse_intermixed_args(arguments)
    if not args.bytes and not args.seconds:
        parser.error("--seconds BATCH=SECONDS is missing: measure it on your GPU with benchmarks/scaling/overhead.py")
    return args


def main() -> int:
    """Returns the exit code; 2: a mistake to mend, told in a sentence."""
    args = parse(sys.argv[1:])
    command = f"`{spoken('benchmarks.scaling', sys.argv[1:], {})}`"
    try:
        if args.bytes:
            name, text = "bytes", f"{bytes_table()}\n\n{command}; counted."
        else:
            config, points = load_config(args.recipe, args.overrides), dict(args.seconds)
            computing, links = line_through(points), (args.per_node, args.inside, args.between)
            made = Prediction(
                traffic(config, SIZES.get(args.recipe, SIZE)), computing, max(points), config.train.batch_size, *links
            )
            text = f"{prediction_table(made, args.gpus)}\n\n{advice(made, args.gpus)}\n\n{command}; predicted."
            name = "prediction"
        print(text)
        if args.into:
            write_text(args.into, filled(args.into, name, text))
    except (DistganError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
