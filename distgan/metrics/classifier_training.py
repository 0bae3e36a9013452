"""Trains the small classifier that judges generated images, on the labelled real images of one data set.

In: images and labels in memory. Out: a network and its accuracy on images that it has not seen. On the CPU the result
is a function of images, settings and seed, up to the rounding of the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from torch.optim.lr_scheduler import OneCycleLR

from distgan.networks import build_classifier, to_device
from distgan.networks.classifier import Classifier
from distgan.utils.errors import QualityError
from distgan.utils.images import to_signed
from distgan.utils.log import log
from distgan.utils.numerics import exact_numerics
from distgan.utils.progress import track
from distgan.utils.rng import Draws, Rows, generator

SMOOTHING = 0.1  # of the labels (Szegedy et al. 2016)
MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
RISE = 0.25  # share of the steps in which the learning rate rises
MIN_STEPS, MIN_BATCH = 64, 16  # of an epoch; of a batch, where there are fewer images than for both
HELD_OUT = 0.1  # share of the images for the accuracy, where no test set is given
BLOCK = 500  # images at a time, for the accuracy


class Labelled(NamedTuple):
    """Images with their classes."""

    images: Tensor
    """uint8 [N, channels, size, size]."""
    labels: Tensor
    """int64 [N]."""

    def at(self, rows: Tensor) -> Labelled:
        """Some of them. rows: int64 [n]."""
        return Labelled(self.images[rows], self.labels[rows])


@dataclass(frozen=True)
class Schedule:
    """How the classifier is trained."""

    epochs: int = 24
    batch_size: int = 256
    """At most; of few images smaller, so that an epoch has MIN_STEPS."""
    lr: float = 0.25
    """Highest learning rate, of a full batch; smaller batches get less in proportion (Goyal et al. 2017)."""
    seed: int = 0
    flip: bool = True
    """Whether half of the images are mirrored left to right."""
    bf16: bool = False
    """Whether to compute in mixed precision."""

    def for_images(self, count: int) -> Schedule:
        """The same for a data set of `count` images: its own batch size and learning rate."""
        size = min(self.batch_size, max(count // MIN_STEPS, MIN_BATCH), count)
        return replace(self, batch_size=size, lr=self.lr * size / self.batch_size)


def split_off(real: Labelled, seed: int) -> tuple[Labelled, Labelled]:
    """Images to train on, and a share of HELD_OUT (at least one) to test on, chosen by the seed."""
    order = torch.randperm(len(real.images), generator=generator("cpu", seed, "classifier/split"))
    held_out = max(round(HELD_OUT * len(order)), 1)
    return real.at(order[held_out:]), real.at(order[:held_out])


def train_classifier(
    real: Labelled, test: Labelled, classes: int, schedule: Schedule, device: torch.device, show: bool
) -> Classifier:
    """A classifier in eval mode on the device, trained by SGD with Nesterov's momentum and one cycle (Smith 2018).

    test: for the accuracy after each epoch, which goes into the log where `show` is set, and chooses nothing. Raises
    QualityError if the training diverges.
    """
    network = build_classifier(real.images.shape[-1], real.images.shape[1], classes, schedule.seed)
    to_device(network, device)
    schedule = schedule.for_images(len(real.images))
    steps = schedule.epochs * len(_batches(len(real.images), schedule, 0))
    optimizer = _optimizer(network, schedule.lr)
    cycle = OneCycleLR(optimizer, schedule.lr, total_steps=steps + 1, pct_start=RISE, cycle_momentum=False)
    step = 0
    for epoch in range(schedule.epochs):
        network.train()
        batches = _batches(len(real.images), schedule, epoch)
        for rows in track(batches, len(batches), f"epoch {epoch + 1} of {schedule.epochs}", "steps", enabled=show):
            draws = Draws(schedule.seed, Rows(0, len(rows), len(rows)), torch.device("cpu")).at("classifier", step)
            images, labels = real.at(rows)
            _update(network, optimizer, moved(images, draws, schedule.flip).to(device), labels.to(device), schedule)
            cycle.step()
            step += 1
        if show:
            log.info("epoch %d: accuracy %.1f %%", epoch + 1, 100 * accuracy(network, test, device))
    if not all(weight.isfinite().all() for weight in network.parameters()):
        raise QualityError("the training of the classifier diverged: its weights are no numbers; try another --seed")
    return network.eval().requires_grad_(False)


def _batches(images: int, schedule: Schedule, epoch: int) -> list[Tensor]:
    """The rows of an epoch's batches, all of one size; what is left over belongs to none."""
    order = torch.randperm(images, generator=generator("cpu", schedule.seed, "classifier/order", epoch))
    size = schedule.batch_size
    return list(order[: images // size * size].split(size))


def _optimizer(network: nn.Module, lr: float) -> torch.optim.SGD:
    """SGD; biases and batch norm do not decay."""
    decay = [weight for weight in network.parameters() if weight.ndim > 1]
    rest = [weight for weight in network.parameters() if weight.ndim <= 1]
    groups = [{"params": decay, "weight_decay": WEIGHT_DECAY}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr, momentum=MOMENTUM, nesterov=True)


def _update(
    network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, schedule: Schedule
) -> None:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=schedule.bf16):
        _, logits = network(to_signed(images))
    optimizer.zero_grad()
    cross_entropy(logits.float(), labels, label_smoothing=SMOOTHING).backward()
    optimizer.step()


def moved(images: Tensor, draws: Draws, flip: bool) -> Tensor:
    """Images moved by up to an eighth of their size, continued by reflection, and half of them mirrored.

    images: uint8 [B, channels, size, size]; draws: of B rows; flip: whether to mirror.
    """
    size = images.shape[-1]
    margin = size // 8
    padded = pad(images.float(), (margin,) * 4, mode="reflect").to(torch.uint8).permute(0, 2, 3, 1)
    start = (draws.of("classifier/crop").uniform((2,)) * (2 * margin + 1)).long()
    rows, columns = (start[:, axis, None] + torch.arange(size) for axis in (0, 1))
    if flip:
        turned = draws.of("classifier/flip").uniform() < 0.5
        columns = torch.where(turned[:, None], columns.flip(1), columns)
    each = torch.arange(len(images))[:, None, None]
    return padded[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def accuracy(network: nn.Module, test: Labelled, device: torch.device) -> float:
    """Share of the images whose class has the highest logit."""
    network.eval()
    with torch.inference_mode(), exact_numerics(device):
        right = [int((network(to_signed(images.to(device)))[1].argmax(dim=1).cpu() == labels).sum())
                 for images, labels in _blocks(test)]  # fmt: skip
    return sum(right) / len(test.labels)


def _blocks(test: Labelled) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(test.images.split(BLOCK), test.labels.split(BLOCK), strict=True)
