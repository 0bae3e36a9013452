"""The first steps of every recipe in configs/ on the CPU: their losses and gradient norms are kept in golden/*.json.

In float64, because a GAN amplifies roundings: in float32 two processors differ by 1e-7 after the first step and by
percents after ten, where a fault would not be seen; in float64 by 1e-14. In float32, in which recipes are trained, the
first step alone is kept.

python -m tests.golden.record DATA [RECIPE ...] writes them anew. Do so only after a change that is meant to change what
a recipe computes, and say so in the commit. DATA: `distgan prepare shapes --count 300 --shard-size 60 --out DATA`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from accelerate import Accelerator

from distgan.config.load import load_config
from distgan.config.schema import Config
from distgan.data.dataset import ImageDataset
from distgan.data.in_memory import ImageArrays, Reading
from distgan.data.sources.shapes import CLASSES, render, truth
from distgan.training.trainer import Trainer
from distgan.utils.rng import Rows

HERE = Path(__file__).parent
RECIPES = sorted(path.stem for path in (HERE.parent.parent / "configs").glob("*.yaml"))
NAMES = ("loss/d", "loss/g", "grad_norm/d", "grad_norm/g")
TOLERANCE = {"float32": 2e-3, "float64": 1e-9}  # relative; the widest seen between processors: 4e-4 and 1e-14
STEPS = 10


def eighth(key: str, *widths: int) -> list[str]:
    """An eighth of the widths: these networks are too large for a test."""
    numbers = ",".join(str(width // 8) for width in widths)
    return [f"{player}.{key}={numbers}" for player in ("generator", "discriminator")]


LIGHT = {  # what a CPU does in seconds; the recipe is the same otherwise
    "seed_frogs": (5, ["train.batch_size=4"]),
    "dcgan": (10, ["train.batch_size=8"]),
    "sngan": (3, ["train.batch_size=4"]),
    "sngan_conditional": (3, ["train.batch_size=4"]),
    "r3gan": (2, ["train.batch_size=2"]),
    "cifar10": (3, ["train.batch_size=4"]),
    "cifar10_cpu": (3, ["train.batch_size=8"]),
    "sngan_64": (2, ["train.batch_size=4", *eighth("width", 1024, 512, 256, 128, 64)]),
    "sngan_128": (2, ["train.batch_size=4", *eighth("width", 1024, 1024, 512, 256, 128, 64)]),
    "r3gan_64": (2, ["train.batch_size=4", *eighth("widths", 768, 768, 768, 768, 384)]),
    "r3gan_128": (2, ["train.batch_size=4", *eighth("widths", 768, 768, 768, 768, 384, 192)]),
}
SIZES = {"sngan_64": 64, "sngan_128": 128, "r3gan_64": 64, "r3gan_128": 128}  # of the images; of all others 32


def play(recipe: str, data: Path, dtype: str) -> list[dict[str, float]]:
    """Losses and gradient norms of the first steps on the embedded shapes (a recipe's own data may need a download)."""
    steps, light = LIGHT.get(recipe, (STEPS, []))
    config = load_config(recipe, [f"data.path={data}", "data.prepare=null", "data.classes=null", *light])
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        rows = Rows(0, config.train.batch_size, config.train.batch_size)
        reals = images_of(recipe, config, rows)
        trainer = Trainer(config, Accelerator(cpu=True), rows, reals.size, reals.class_counts, reals.channels)
        batches = reals.batches(0)
        played = [trainer.step(batches) for _ in range(steps if dtype == "float64" else 1)]
    finally:
        torch.set_default_dtype(before)
    return [{name: step[name].item() for name in NAMES} for step in played]


def images_of(recipe: str, config: Config, rows: Rows) -> ImageDataset | ImageArrays:
    """The embedded shapes: those of the data set, or some larger ones."""
    if recipe not in SIZES:
        return ImageDataset(config.data, config.run.seed, rows, torch.device("cpu"), show=False)
    drawn = render(truth(0, "train", range(20)), size=SIZES[recipe]).transpose(0, 3, 1, 2).copy()
    reading = Reading(config.data, config.run.seed, rows, torch.device("cpu"))
    return ImageArrays(torch.from_numpy(drawn), torch.arange(20) % len(CLASSES), CLASSES, reading)


def main(data: str, *recipes: str) -> None:
    torch.set_num_threads(1)  # as in the tests: sums in another order are other roundings
    for recipe in recipes or RECIPES:
        parts = []
        for dtype in TOLERANCE:
            lines = ",\n  ".join(json.dumps(step) for step in play(recipe, Path(data), dtype))
            parts.append(f'"{dtype}": [\n  {lines}\n ]')
        (HERE / f"{recipe}.json").write_text("{" + ",\n ".join(parts) + "}\n")
        print(f"{recipe}: written")


if __name__ == "__main__":
    main(*sys.argv[1:])
