"""What a record of a run is told: the base of the tracker, of W&B's run, and of trackers from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor


class TrackerBackend:
    """Is told what happens, on the main process. Does nothing by itself: the tracker of the other ranks is one.

    images: real images that D has seen, never falling but after `rewind`.
    """

    def log(self, images: int, metrics: dict[str, float]) -> None:
        """A line of metrics, by name (docs/metrics.md)."""

    def scores(self, images: int, scores: dict[str, Any]) -> None:
        """An evaluation: plain JSON values, with their protocol (docs/quality.md)."""

    def samples(self, images: int, fakes: Tensor, reals: Tensor) -> None:
        """A grid of samples: uint8 [N, channels, H, W] on the CPU; the reals are the same every time."""

    def event(self, images: int, kind: str, text: str, alert: bool) -> None:
        """Something that a person should know. kind: one word; alert: at once."""

    def rewind(self, images: int) -> None:
        """A rollback: everything after `images` is trained again."""

    def artifact(self, path: Path, metadata: dict[str, Any], alias: str = "latest") -> None:
        """A generator file was written. alias: latest or best."""

    def finish(self, exit_code: int = 0) -> None:
        """The end of the training."""
