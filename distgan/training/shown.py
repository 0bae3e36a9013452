"""What D is shown in a step, and what it makes of it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Classed(NamedTuple):
    """Images, generated or real, and their classes."""

    images: Tensor
    """[b, channels, H, W] in [-1, 1]."""
    classes: Tensor | None
    """int64 [b]; None for an unconditional generator."""
    maps: list[Tensor] | None = None
    """D's features of the images, each [b, channels, H, W], where both updates use the same."""


class Pair(NamedTuple):
    """What an update shows D: as many fakes as reals."""

    fakes: Classed
    reals: Classed


class Judged(NamedTuple):
    """What D makes of images in G's update."""

    logits: list[Tensor]
    """One tensor, [b] or [b, heads]; none of reals where G's loss does not need them."""
    maps: list[Tensor]
    """What mode seeking compares: the images themselves, or D's features, each [b, channels, H, W]."""


class DiscriminatorInput(NamedTuple):
    """Images that go through D in one forward: b fakes, b reals and, for a penalty on them, b mixtures of the two."""

    images: Tensor
    """[2b or 3b, channels, H, W], augmented, channels last."""
    origins: dict[str, Tensor]
    """What slopes are by: "fake" and "real" before augmentation, perhaps "mixed"; [b, channels, H, W] each."""
    classes: Tensor | None
    """int64 [2b or 3b]; None for an unconditional generator."""
    maps: list[Tensor] | None = None
    """D's features of the images, each [2b, channels, H, W], where they are already known."""
