"""distgan's own training, as `accelerate launch distgan/train.py` runs it, with a pause every few steps.

Logging, W&B offline, guard, watchdog, samples and checkpoints are there as in a user's, each at its own interval, so a
short turn may have none of them. There are no evaluations. Here, too: what FLOPs are compared with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

import distgan.training.run
from benchmarks.speed.baselines.dataset import shapes
from benchmarks.speed.baselines.pytorch_loop import device
from benchmarks.speed.interleave import Lap
from distgan.config.load import load_config
from distgan.data.dataset import Batch
from distgan.distributed.signals import Signals
from distgan.training.execution import Graphs
from distgan.training.flops import Flops
from distgan.training.trainer import Trainer

ENDLESS = 10**12  # images
DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def countable(settings: Mapping[str, str]) -> bool:
    """Whether FLOPs can be counted: under a counter compiled networks stay eager, and a graph's replay calls nothing
    that could be counted."""
    return "on" not in (settings.get("train.compile"), settings.get("train.graphs"))


def training(lap: Lap, recipe: str = "quickstart", steps: str = "20", feed: str = "shards", **keys: str) -> None:
    """keys: settings, with dots. feed: `shards`, `blocks` (their layout), or `memory`: always the same batch, no data
    path at all."""
    every = int(steps)

    class Paused(Trainer):
        """A trainer that waits for its turn after every so many steps, and counts FLOPs until its first pause."""

        counter = Flops()
        counts = countable(keys)
        began = -1
        batch: Batch | None = None

        def step(self, reals: Iterator[Batch]) -> dict[str, Tensor]:
            if self.began < 0:
                self.began = self.steps
                if self.counts:
                    self.counter.__enter__()
            elif self.counts and self.steps == self.began + every:
                self.counter.__exit__(None, None, None)
                lap(every, {"flops": self.counter.total / every * self.accelerator.num_processes})
            elif (self.steps - self.began) % every == 0:
                if isinstance(self.compute, Graphs) and self.compute.failure:
                    raise RuntimeError(f"the step cannot be recorded: {self.compute.failure}")
                lap(every)
            if feed == "memory":
                self.batch = self.batch or next(reals)
                reals = iter([self.batch] * self.config.train.d_steps)
            return super().step(reals)

    distgan.training.run.Trainer = Paused  # type: ignore[misc]
    data = {"data.path": shapes("blocks" if feed == "blocks" else "pictures"), "data.prepare": "null"}
    own = {**data, "data.classes": "null", "evaluate.every_images": "null", "wandb.mode": "offline"}
    settings = {**own, "run.dir": "runs", "train.images": ENDLESS, **keys}
    config = load_config(recipe, [f"{key}={value}" for key, value in settings.items()])
    distgan.training.run.run(config, "never", Signals())


def product(lap: Lap, precision: str = "no", side: str = "2048", calls: str = "10") -> None:
    """A large matrix product: a peak that FLOPs are compared with."""
    size = int(side) * (4 if device().type == "cuda" else 1)
    a, b = (torch.randn(size, size, device=device()).to(DTYPES[precision]) for _ in range(2))
    while True:
        for _ in range(int(calls)):
            a @ b
        lap(int(calls), {"flops": 2.0 * size**3})


def convolution(lap: Lap, precision: str = "no", batch: str = "20", calls: str = "10") -> None:
    """The seed recipe's largest layer, 5x5 from 256 to 256 channels at 32x32: on some CPUs faster than a product."""
    shapes = (int(batch) * (16 if device().type == "cuda" else 1), 256, 32, 32), (256, 256, 5, 5)
    images, weight = (torch.randn(shape, device=device()).to(DTYPES[precision]) for shape in shapes)
    images, weight = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (images, weight))
    flops = 2.0 * weight.numel() * len(images) * 32 * 32
    with torch.inference_mode():
        while True:
            for _ in range(int(calls)):
                torch.nn.functional.conv2d(images, weight, padding=2)
            lap(int(calls), {"flops": flops})
