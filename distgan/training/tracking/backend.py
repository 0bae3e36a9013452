"""What a record of a run is told: the base of the tracker, of W&B's run, and of trackers from outside."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from torch import Tensor

from distgan.utils.background import short
from distgan.utils.errors import ConfigError
from distgan.utils.images import to_grid

COUNTERS = ("images", "seconds", "step", "epoch")  # metrics that only rise: an x axis, but no chart of their own
INTERPOLATION_STEPS = 8  # images in a row of an interpolation, with both ends


def lacks_extra(name: str, error: ImportError) -> ConfigError:
    """The mistake of a tracker in `log.to` whose package, an extra of the same name, cannot be imported."""
    return ConfigError(f'log.to={name} needs the package {name} ({short(error)}); pip install "distgan[{name}]"')


class CaptionedImage(NamedTuple):
    """An image for people, with what it shows in a sentence."""

    image: Image.Image
    caption: str


@dataclass(frozen=True)
class Samples:
    """What the generator makes at one moment, always of the same seeds, and real images beside it."""

    fakes: Tensor
    """uint8 [N, channels, H, W] on the CPU."""
    reals: Tensor
    """As many real images; the same every time."""
    columns: int | None = None
    """Of the grid of fakes, one for each class; None: there are no classes to show, the grid is about square."""
    caption: str = ""
    """What the fakes show: images seen, seeds, score."""
    interpolation: Tensor | None = None
    """Images between fixed pairs of seeds, uint8 [rows * INTERPOLATION_STEPS, channels, H, W]."""
    interpolation_caption: str = ""

    def captioned(self) -> dict[str, CaptionedImage]:
        """By name: fakes, reals and, if there is one, interpolation."""
        return dict(self._captioned)

    @functools.cached_property
    def _captioned(self) -> dict[str, CaptionedImage]:
        """Several trackers ask for them."""
        shown = {
            "fakes": CaptionedImage(to_grid(self.fakes, self.columns), self.caption),
            "reals": CaptionedImage(to_grid(self.reals, self.columns), "real images"),
        }
        if self.interpolation is not None:
            strip = to_grid(self.interpolation, INTERPOLATION_STEPS)
            shown["interpolation"] = CaptionedImage(strip, self.interpolation_caption)
        return shown


class TrackerBackend:
    """Is told what happens, on the main process. Does nothing by itself: the tracker of the other ranks is one.

    images: real images that D has seen, never falling but after `rewind`.
    """

    def log(self, images: int, metrics: dict[str, float]) -> None:
        """A line of metrics, by name (docs/metrics.md)."""

    def scores(self, images: int, scores: dict[str, Any]) -> None:
        """An evaluation: plain JSON values, with their protocol (docs/judges.md)."""

    def samples(self, images: int, samples: Samples) -> None:
        """New samples: at the start, at some early moments, then every log.samples_every_steps."""

    def event(self, images: int, kind: str, text: str, alert: bool) -> None:
        """Something that a person should know. kind: one word; alert: at once."""

    def rewind(self, images: int) -> None:
        """Everything after `images` is trained again: at every start (0: a new run) before all else; at a rollback."""

    def artifact(self, path: Path, metadata: dict[str, Any], alias: str = "latest") -> None:
        """A generator file was written. alias: latest or best."""

    def page(self, path: Path) -> None:
        """The report of the run was written, one HTML file."""

    def finish(self, exit_code: int = 0) -> None:
        """The end of the training."""
