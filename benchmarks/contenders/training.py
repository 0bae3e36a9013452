"""distgan's own training, as `accelerate launch distgan/train.py` runs it, with a pause every few steps.

Everything that a user's training has is in it: logging, W&B offline, guard, watchdog, samples, checkpoints.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import torch
from contenders.shapes import shapes
from contest import Lap
from flops import Flops
from torch import Tensor

import distgan.run
from distgan.config_file import load_config
from distgan.data.loader import Batch
from distgan.trainer import Trainer

ENDLESS = 10**12  # pictures


def training(lap: Lap, recipe: str = "quickstart", steps: str = "20", feed: str = "shards", **keys: str) -> None:
    """keys: settings, with dots. feed: `shards`, or `memory`: always the same batch, no data path at all."""
    every = int(steps)

    class Paused(Trainer):
        """A trainer that waits for its turn after every so many steps, and counts FLOPs until its first pause."""

        counter = Flops()
        began = -1
        batch: Batch | None = None

        def step(self, reals: Iterator[Batch]) -> dict[str, Tensor]:
            if self.began < 0:
                self.began = self.steps
                self.counter.__enter__()
            elif self.steps == self.began + every:
                self.counter.__exit__(None, None, None)
                lap(every, {"flops": self.counter.total / every * self.accelerator.num_processes})
            elif (self.steps - self.began) % every == 0:
                lap(every)
            if feed == "memory":
                self.batch = self.batch or next(reals)
                reals = iter([self.batch] * self.config.train.d_steps)
            return super().step(reals)

    distgan.run.Trainer = Paused  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as scratch:
        own = {"run.dir": scratch, "data.path": shapes(), "data.prepare": "null", "data.classes": "null"}
        settings = {**own, "train.images": ENDLESS, "evaluate.every_images": "null", "wandb.mode": "offline", **keys}
        distgan.run.run(load_config(recipe, [f"{key}={value}" for key, value in settings.items()]), "never")


def product(lap: Lap, precision: str = "no", side: str = "2048") -> None:
    """A large matrix product: the peak that all FLOPs are compared with."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    size = int(side) * (4 if device.type == "cuda" else 1)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    while True:
        for _ in range(10):
            a @ b
        lap(10, {"flops": 2.0 * size**3})
