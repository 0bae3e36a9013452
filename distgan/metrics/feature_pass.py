"""Looking at many images, each rank at its share: images in, columns of what was seen out, on the main process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from distgan.distributed.collectives import Ranks
from distgan.metrics.extractors.base import Extractor
from distgan.utils.progress import track

Columns = dict[str, Tensor]
"""By name: features, float32 [N, D]; logits, float32 [N, K]; images, uint8 [N, 3, H, W]."""
ImageBatches = Callable[[range, int], Iterable[Tensor]]
"""Rows and a size of batches in, uint8 [<= size, 3, H, W] at a time out."""


@dataclass(frozen=True)
class FeaturePass:
    """What is to be seen of an image."""

    extractor: Extractor | None
    """Makes the columns features and logits."""
    images: bool
    """Whether the images themselves are wanted."""
    size: int
    """Their height and width, pixels."""
    ranks: Ranks
    show: bool
    """Whether to show progress."""

    def look(self, pixels: ImageBatches, total: int, what: str) -> Columns:
        """All ranks' looks at `total` images, in order, on the main process; columns of length 0 elsewhere."""
        batch = self.extractor.batch_size if self.extractor else 16
        mine = self.ranks.share(total, batch)
        shown = track(pixels(mine, batch), len(mine), what, "images", enabled=self.show, weigh=len)
        parts = [self._see(images) for images in shown] or [self._nothing()]
        return {name: self.ranks.gather(torch.cat([part[name] for part in parts]), total, batch) for name in parts[0]}

    def _see(self, images: Tensor) -> Columns:
        columns = {"images": images} if self.images else {}
        if self.extractor:
            columns["features"], columns["logits"] = self.extractor(images)
        return columns

    def _nothing(self) -> Columns:
        """What a rank without a share has seen."""
        blank = torch.zeros((1, 3, self.size, self.size), dtype=torch.uint8)
        return {name: column[:0] for name, column in self._see(blank).items()}
