"""Running statistics of batch normalisation beside averaged weights: three ways, scored during a training.

python -m benchmarks.quality.batch_statistics RECIPE SHARDS MOMENTS [KEY=VALUE ...]

MOMENTS: images seen at which the averaged generator is scored, such as 64000,128000,192000. One process. The ways:
trained: the statistics of the generator that is trained, as distgan has it (`Ema`); averaged: their moving average;
measured: the means over 1024 latents, in batches of 64 that are normalised by their own statistics, as in training.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from distgan.config.load import load_config
from distgan.config.schema import Config
from distgan.inference.generator import Generator
from distgan.metrics.evaluator import Evaluator
from distgan.metrics.registry import full_name
from distgan.networks.batch_norm import GlobalBatchNorm
from distgan.training import own_loop
from distgan.training.ema import ema_decay
from distgan.training.export import Exporter
from distgan.training.trainer import Trainer
from distgan.utils.rng import Draws, Rows

SHOWN = ("fd", "kd", "precision", "recall", "coverage")
LATENTS, BATCH = 1024, 64


class AveragedStatistics:
    """The moving average of the trained generator's statistics, kept beside `Ema`."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.statistics = {name: value.clone() for name, value in trainer.g.network.named_buffers()}

    def update(self, decay: float) -> None:
        for name, value in self.trainer.g.network.named_buffers():
            self.statistics[name].lerp_(value, 1 - decay)

    def averaged(self) -> nn.Module:
        """The average with averaged statistics."""
        network = copy.deepcopy(self.trainer.ema.network)
        network.load_state_dict(self.statistics, strict=False)
        return network


class Measuring:
    """Means and variances that one normalisation meets, batch by batch; a forward pre-hook of it."""

    def __init__(self, layer: GlobalBatchNorm) -> None:
        self.layer, self.batches = layer, 0
        self.mean, self.variance = torch.zeros_like(layer.running_mean), torch.zeros_like(layer.running_var)
        self.handle = layer.register_forward_pre_hook(self)

    def __call__(self, _layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Notes the statistics of a batch, and lets it be normalised by them."""
        variance, mean = torch.var_mean(inputs[0], (0, 2, 3))
        self.batches, self.mean, self.variance = self.batches + 1, self.mean + mean, self.variance + variance
        self.layer.running_mean.copy_(mean)
        self.layer.running_var.copy_(variance)

    def end(self) -> None:
        """Makes the means over the batches the running statistics."""
        self.handle.remove()
        self.layer.running_mean.copy_(self.mean / self.batches)
        self.layer.running_var.copy_(self.variance / self.batches)


@torch.no_grad()
def measured(trainer: Trainer) -> nn.Module:
    """The average with statistics of its own."""
    network, device = copy.deepcopy(trainer.ema.network), trainer.accelerator.device
    layers = [Measuring(layer) for layer in network.modules() if isinstance(layer, GlobalBatchNorm)]
    draws = Draws(0, Rows(0, BATCH, BATCH), torch.device("cpu"))
    for number in range(LATENTS // BATCH):
        labels = torch.arange(number * BATCH, (number + 1) * BATCH) % trainer.classes if trainer.conditional else None
        latents = draws.at("statistics/latent", number).normal([trainer.latent_dim])
        network(latents.to(device), None if labels is None else labels.to(device))
    for layer in layers:
        layer.end()
    return network


def measure(config: Config, moments: list[int]) -> Iterator[tuple[int, str, dict[str, float]]]:
    """Images seen, the way and the scores, at each moment."""
    owner = own_loop.Trainer.from_config(config)
    trainer, reals, accelerator = owner.core, owner.reals, owner.accelerator
    exporter, batches, beside = Exporter(config, trainer, reals), reals.batches(0), AveragedStatistics(trainer)
    evaluator = Evaluator(config.evaluate, config.data, accelerator.device, False)
    for moment in moments:
        while trainer.images_seen < moment:
            trainer.step(batches)
            beside.update(ema_decay(config.ema, config.images_per_step, trainer.images_seen))
        ways = {"trained": trainer.ema.network, "averaged": beside.averaged(), "measured": measured(trainer)}
        for way, network in ways.items():
            generator = Generator(network, exporter.describe(None), "", accelerator.device)
            yield trainer.images_seen, way, dict(evaluator.evaluate(generator).values)


def main(recipe: str, shards: str, moments: str, *overrides: str) -> None:
    config = load_config(Path(recipe), [*overrides, f"data.path={shards}", "data.prepare=null"])
    print(
        "| recipe | images | statistics | " + " | ".join(SHOWN) + " |\n" + "| --- " * (len(SHOWN) + 3) + "|", flush=True
    )
    for images, way, values in measure(config, [int(moment) for moment in moments.split(",")]):
        cells = [f"{values[full_name(name, config.evaluate.extractor)]:.4g}" for name in SHOWN]
        print(f"| {config.run.name} | {images:,} | {way} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
