"""The model of docs/scaling.md: seconds of a training step on N GPUs of M machines. Pure functions.

In: what a recipe sends, counted on its networks; what a GPU takes; what the links carry. Out: seconds, efficiencies.
Nothing is taken to be hidden behind the computing, though DDP hides a part: the efficiencies are a floor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from distgan.config.schema import Config
from distgan.networks import build_discriminator, build_generator
from distgan.networks.batch_norm import GlobalBatchNorm

SIZE, CLASSES = 32, 10  # of the recipes' images
ENOUGH = 0.8  # efficiency; below it more GPUs are not worth their price
MAX = 1 << 16  # GPUs that are looked at


class Link(NamedTuple):
    bandwidth: float
    """Bytes per second, each way."""
    latency: float
    """Seconds from a message's beginning to its arrival, however short it is."""


class Cluster(NamedTuple):
    """Equal machines. A machine's GPUs share its way out."""

    nodes: int
    per_node: int
    inside: Link
    between: Link


class Traffic(NamedTuple):
    """What a process gives to be summed in one training step."""

    gradients: int
    """Bytes, of all updates of both networks."""
    statistics: int
    """Bytes, of batch normalisation."""
    checks: float
    """Bytes, of the agreed stop and, per step, of the guard."""
    waits: int
    """Sums that must be there before the step goes on."""

    @property
    def total(self) -> float:
        return self.gradients + self.statistics + self.checks


class Compute(NamedTuple):
    """Seconds of a step on one GPU, as a line over its images."""

    fixed: float
    per_image: float

    def __call__(self, images: float) -> float:
        return self.fixed + self.per_image * images


def traffic(config: Config, size: int = SIZE, classes: int = CLASSES) -> Traffic:
    """Counted on the networks. Gradients of micro-batches are summed before they are sent, so accumulation is free."""
    g = build_generator(config.generator, size, classes)
    d = build_discriminator(config.discriminator, size, classes)
    weights = [sum(weight.numel() for weight in network.parameters()) for network in (g, d)]
    d_steps, train = config.train.d_steps, config.train
    each = 2 if train.gradient_compression == "bf16" else 4
    channels = [layer.running_mean.numel() for layer in g.modules() if isinstance(layer, GlobalBatchNorm)]
    passes = 2 if train.share_fakes else d_steps + 2  # forwards, and a backward; mean and variance in each
    tensors = 2 * len(g.state_dict()) + len(d.state_dict())
    guard = 8 * tensors / config.guard.every_steps if config.guard.every_steps else 0.0
    return Traffic(
        gradients=each * (weights[0] + d_steps * weights[1]),
        statistics=4 * 2 * passes * sum(channels),
        checks=8 + guard,
        waits=d_steps + 1 + 2 * passes * len(channels),
    )


def ring(size: float, ranks: int, link: Link) -> float:
    """Seconds of an all-reduce of `size` bytes: 2 (N - 1) messages in a row, each an N-th of them.

    Source: Patarasuk & Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of workstations".
    """
    return 2 * (ranks - 1) * (size / ranks / link.bandwidth + link.latency)


def all_reduce(size: float, cluster: Cluster) -> float:
    """Seconds: summed inside each machine, then between them (each GPU a part), then handed out inside."""
    return ring(size, cluster.per_node, cluster.inside) + ring(size, cluster.nodes, cluster.between)


def communication(load: Traffic, cluster: Cluster) -> float:
    """Seconds of a step in which the GPUs do not compute."""
    return all_reduce(load.total, cluster) + (load.waits - 1) * all_reduce(0, cluster)


def cluster_of(gpus: int, per_node: int, inside: Link, between: Link) -> Cluster:
    """So many GPUs on as few machines as hold them, rounded up to whole machines."""
    return Cluster(math.ceil(gpus / per_node), min(gpus, per_node), inside, between)


def line_through(points: Mapping[int, float]) -> Compute:
    """The least-squares line through {images: seconds}, or, where it would begin below zero, one through zero."""
    if len(points) == 1:
        return Compute(0.0, *(seconds / images for images, seconds in points.items()))
    middle = sum(points) / len(points)
    height = sum(points.values()) / len(points)
    slope = sum((x - middle) * (y - height) for x, y in points.items()) / sum((x - middle) ** 2 for x in points)
    if height < slope * middle:
        return Compute(0.0, height / middle)
    return Compute(height - slope * middle, slope)


def stops_at(efficiency: Callable[[int], float]) -> int | None:
    """The first power of two of GPUs whose efficiency is not enough, or None."""
    counts = (1 << power for power in range(1, MAX.bit_length()))
    return next((gpus for gpus in counts if efficiency(gpus) < ENOUGH), None)


class Prediction(NamedTuple):
    """A recipe on clusters of one kind."""

    load: Traffic
    compute: Compute
    batch: int
    """Images of a GPU's step, in weak scaling."""
    whole: int
    """Images of all GPUs' step, in strong scaling."""
    per_node: int
    inside: Link
    between: Link

    def waiting(self, gpus: int) -> float:
        return communication(self.load, cluster_of(gpus, self.per_node, self.inside, self.between))

    def weak(self, gpus: int) -> float:
        """Efficiency with the same batch on every GPU."""
        alone = self.compute(self.batch)
        return alone / (alone + self.waiting(gpus))

    def strong(self, gpus: int) -> float:
        """Efficiency with the same global batch, shared out; 0 where there is not an image for each GPU."""
        if gpus > self.whole:
            return 0.0
        return self.compute(self.whole) / gpus / (self.compute(self.whole / gpus) + self.waiting(gpus))

    def rate(self, gpus: int, efficiency: float, batch: int) -> float:
        """Images per second. batch: of the one GPU that the efficiency is measured by."""
        return efficiency * gpus * batch / self.compute(batch)

    def steps_between_sums(self, gpus: int) -> int:
        """How many steps of local SGD go to one average, so that it is efficient enough."""
        return math.ceil(self.waiting(gpus) / (self.compute(self.batch) * (1 / ENOUGH - 1)))
