"""One pass over many images, shared by all ranks: images in, columns of features out, on the main process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from distgan.data.shards.decode import ImageForm
from distgan.distributed.collectives import Ranks
from distgan.metrics.extractors.base import Extractor
from distgan.utils.progress import track

Columns = dict[str, Tensor]
"""By name: features, float32 [N, D]; logits, float32 [N, K]; images, uint8 [N, channels, H, W]."""
ImageBatches = Callable[[range, int], Iterable[Tensor]]
"""A range of rows and a batch size in; batches of images, uint8 [<= batch size, channels, H, W], out."""


@dataclass(frozen=True)
class FeaturePass:
    """The columns to compute, and the ranks that share the work."""

    extractor: Extractor | None
    """Gives the columns features and logits."""
    keep_images: bool
    """Whether the images are a column as well."""
    form: ImageForm
    """Of the images."""
    ranks: Ranks
    show: bool
    """Whether to show progress."""

    def run(self, images: ImageBatches, total: int, label: str) -> Columns:
        """The columns of rows 0 ... total - 1, in order, on the main process; columns of length 0 elsewhere.

        label: names the images in the progress. Every rank calls it together.
        """
        batch_size = self.extractor.batch_size if self.extractor else 16
        rows = self.ranks.share(total, batch_size)
        batches = track(images(rows, batch_size), len(rows), label, "images", enabled=self.show, weigh=len)
        parts = [self._columns(batch) for batch in batches] or [self._empty_columns()]
        whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return {name: self.ranks.gather(column, total, batch_size) for name, column in whole.items()}

    def _columns(self, batch: Tensor) -> Columns:
        columns = {"images": batch} if self.keep_images else {}
        if self.extractor:
            columns["features"], columns["logits"] = self.extractor(batch)
        return columns

    def _empty_columns(self) -> Columns:
        """The columns of a rank without images."""
        blank = torch.zeros((1, self.form.channels, self.form.size, self.form.size), dtype=torch.uint8)
        return {name: column[:0] for name, column in self._columns(blank).items()}
