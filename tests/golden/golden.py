"""The first steps of every recipe in configs/, in float32 on the CPU: their losses are kept in golden/*.json.

python tests/golden/golden.py DATA [RECIPE ...] writes them anew. Do so only after a change that is meant to change what
a recipe computes, and say so in the commit. DATA: the 300 pictures of `distgan prepare shapes --count 300`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from accelerate import Accelerator

from distgan.config_file import load_config
from distgan.data.loader import Reals
from distgan.rng import Rows
from distgan.trainer import Trainer

HERE = Path(__file__).parent
RECIPES = sorted(path.stem for path in (HERE.parent.parent / "configs").glob("*.yaml"))
TOLERANCE = {
    "loss/d": 3e-3,
    "loss/g": 3e-3,
    "grad_norm/d": 2e-2,
    "grad_norm/g": 2e-2,
}  # other processors round otherwise
STEPS = 10
LIGHT = {  # what a CPU does in seconds; the recipe is the same otherwise
    "dcgan": (10, ["train.batch_size=8"]),
    "sngan": (4, ["train.batch_size=4"]),
    "sngan_conditional": (4, ["train.batch_size=4"]),
    "r3gan": (3, ["train.batch_size=2"]),
    "cifar10": (4, ["train.batch_size=4"]),
}


def play(recipe: str, data: Path) -> list[dict[str, float]]:
    """Losses and gradient norms of the first steps on the embedded shapes (a recipe's own data may need a download)."""
    count, light = LIGHT.get(recipe, (STEPS, []))
    config = load_config(recipe, [f"data.path={data}", "data.prepare=null", "data.classes=null", *light])
    rows = Rows(0, config.train.batch_size, config.train.batch_size)
    reals = Reals(config.data, config.run.seed, rows, torch.device("cpu"), show=False)
    trainer = Trainer(config, Accelerator(cpu=True), rows, reals.size, len(reals.classes))
    batches = reals.batches(0)
    steps = [trainer.step(batches) for _ in range(count)]
    return [{name: step[name].item() for name in TOLERANCE} for step in steps]


def main(data: str, *recipes: str) -> None:
    torch.set_num_threads(1)  # as in the tests: sums in another order are other roundings
    for recipe in recipes or RECIPES:
        steps = play(recipe, Path(data))
        lines = ",\n ".join(json.dumps(step) for step in steps)
        (HERE / f"{recipe}.json").write_text(f"[{lines}]\n")
        print(f"{recipe}: {len(steps)} steps")


if __name__ == "__main__":
    main(*sys.argv[1:])
