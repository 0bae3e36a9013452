"""Sample grids of a run, and how diverse the generated images are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from distgan.data.dataset import ImageDataset
from distgan.distributed.collectives import on_main, rank
from distgan.inference.generator import Generator
from distgan.training.tracking.backend import TrackerBackend

DIVERSITY_SAMPLES = 64  # images that the diversity is measured on


@dataclass
class SampleGrid:
    """Draws grids of the seeds 0, 1, 2, ..., as `distgan sample --seeds 0-N` does. One on every rank."""

    generator: Generator
    """The averaged generator."""
    reals: Tensor
    """Real images for comparison, uint8 [N, channels, H, W], on the main process."""
    shown: int
    """Images of a grid."""
    tracker: TrackerBackend
    images: Tensor | None = None
    """The generated images of the last grid, uint8 [N, channels, H, W], on the main process."""

    @classmethod
    def of(cls, generator: Generator, data: ImageDataset, shown: int, tracker: TrackerBackend) -> SampleGrid:
        """shown: images of a grid."""
        reals = data.first(max(shown, DIVERSITY_SAMPLES)) if rank() == 0 else torch.empty(0)
        return cls(generator, reals, shown, tracker)

    def draw(self, images_seen: int) -> float:
        """Writes a grid. Returns the diversity of the generated images. Every rank must call it."""
        return on_main(lambda: self._draw(images_seen))

    def _draw(self, images_seen: int) -> float:
        fakes = self.generator.sample(range(max(self.shown, DIVERSITY_SAMPLES)))
        self.images = fakes[: self.shown]
        self.tracker.samples(images_seen, self.images, self.reals[: self.shown])
        return diversity(fakes[:DIVERSITY_SAMPLES], self.reals[:DIVERSITY_SAMPLES])


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
