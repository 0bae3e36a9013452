"""Sample grids of a run, and how diverse the generated images are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from distgan.data.dataset import ImageDataset
from distgan.distributed.collectives import on_main, rank
from distgan.inference.generator import Generator
from distgan.inference.interpolation import rows_between
from distgan.metrics.protocol import Scores
from distgan.training.tracking.backend import INTERPOLATION_STEPS, Samples, TrackerBackend
from distgan.training.trainer import Trainer
from distgan.utils.images import class_columns

CHOSEN_FROM = 4  # times the images of a grid: the reals that its columns are chosen from
DIVERSITY_SAMPLES = 64  # images that the diversity is measured on
INTERPOLATED = ((0, 1), (2, 3), (4, 5), (6, 7))  # pairs of seeds
BETWEEN = ", ".join(f"{start} and {end}" for start, end in INTERPOLATED)


@dataclass
class SampleGrid:
    """Draws grids of the seeds 0, 1, 2, ..., as `distgan sample --seeds 0-N` does. One on every rank."""

    generator: Generator
    """The averaged generator."""
    reals: Tensor
    """Real images for comparison, uint8 [N, channels, H, W], on the main process."""
    shown_reals: Tensor
    """As many of them as a grid has, with a column for each class where the grid has these."""
    columns: int | None
    """Of the grid, one for each class; None: about square."""
    shown: int
    """Images of a grid."""
    tracker: TrackerBackend
    metric: str
    """Name of the score in the caption."""
    images: Tensor | None = None
    """The generated images of the last grid, uint8 [N, channels, H, W], on the main process."""

    @classmethod
    def of(
        cls, generator: Generator, data: ImageDataset, shown: int, tracker: TrackerBackend, *, metric: str
    ) -> SampleGrid:
        """shown: images of a grid; metric: name of the score in the caption."""
        classes = len(generator.class_names) if generator.conditional else 1
        columns = class_columns(classes, shown)
        reals = chosen = torch.empty(0)
        if rank() == 0:
            images, labels = data.first(CHOSEN_FROM * max(shown, DIVERSITY_SAMPLES))
            reals = images[: max(shown, DIVERSITY_SAMPLES)]
            chosen = reals[:shown] if columns is None else images[in_columns(labels.tolist(), classes, shown)]
        return cls(generator, reals, chosen, columns=columns, shown=shown, tracker=tracker, metric=metric)

    def draw(self, trainer: Trainer, scores: Scores | None) -> tuple[float, float]:
        """Writes a grid, with D's logits of it and the last scores. Returns the images' diversity and D's mean logit.

        Every rank must call it.
        """
        return on_main(lambda: self._draw(trainer, scores))

    def _draw(self, trainer: Trainer, scores: Scores | None) -> tuple[float, float]:
        seeds = range(max(self.shown, DIVERSITY_SAMPLES))
        fakes = self.generator.sample(seeds)
        self.images = fakes[: self.shown]
        logits = trainer.logits(self.images, self.generator.labels(seeds[: self.shown]))
        seen = f"{trainer.images_seen:,} images"
        self.tracker.samples(
            trainer.images_seen,
            Samples(
                fakes=self.images,
                reals=self.shown_reals,
                columns=self.columns,
                caption=f"{seen}, seeds 0 to {self.shown - 1}, {self._score(scores)}D's logits {_range(logits)}",
                interpolation=rows_between(self.generator, INTERPOLATED, INTERPOLATION_STEPS),
                interpolation_caption=f"{seen}, between the seeds {BETWEEN}",
            ),
        )
        return diversity(fakes[:DIVERSITY_SAMPLES], self.reals[:DIVERSITY_SAMPLES]), float(logits.mean())

    def _score(self, scores: Scores | None) -> str:
        if scores is None or self.metric not in scores.values:
            return ""
        return f"{self.metric} {scores.values[self.metric]:.4g} at {scores.images_seen:,}, "


def in_columns(labels: Sequence[int], classes: int, count: int) -> list[int]:
    """Positions of at most `count` images, row by row, so that column c has the class c; where the class has no more
    images, the first that is left. labels: of the images to choose from."""
    left = list(range(len(labels)))
    chosen = []
    for place in range(min(count, len(labels))):
        position = next((at for at in left if labels[at] == place % classes), left[0])
        left.remove(position)
        chosen.append(position)
    return chosen


def _range(values: Tensor) -> str:
    """Lowest, mean and highest value."""
    return f"{values.min():.2f} to {values.max():.2f}, mean {values.mean():.2f}"


def diversity(fakes: Tensor, reals: Tensor) -> float:
    """Distance between the fakes as a share of that between the reals: mean to the nearest other image, at 8 x 8.

    fakes, reals: uint8 [N, C, H, W]. 0: all fakes are equal; near 1: as different as reals. Duplicates count in full,
    so that a few modes give a low value as one mode does.
    """
    count = min(len(fakes), len(reals))
    if count < 2:
        return math.nan
    apart = nearest(reals[:count])
    return nearest(fakes[:count]) / apart if apart else math.nan


def nearest(images: Tensor) -> float:
    """Mean distance of each image to its nearest other one."""
    small = adaptive_avg_pool2d(images.float(), 8).flatten(1)
    distances = torch.cdist(small, small, compute_mode="donot_use_mm_for_euclid_dist")
    return float(distances.fill_diagonal_(math.inf).min(dim=1).values.mean())
