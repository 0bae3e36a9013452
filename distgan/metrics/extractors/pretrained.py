"""The result of loading an extractor's network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn


@dataclass(frozen=True)
class PretrainedNetwork:
    """A network with its weights, on the CPU."""

    network: nn.Module
    """uint8 [B, 3, H, W] -> features [B, dimension] and class logits [B, classes]."""
    digest: str
    """sha256 of the file with the weights."""
    resize: int
    """Height and width to which the network resizes an image, pixels."""
    dimension: int
    """Length of the features."""
    classes: int
    """Number of class logits."""
    class_names: tuple[str, ...] = ()
    """Of the logits, where they are classes of the real images; empty: others, such as ImageNet's."""
    channels: Literal[1, 3] | None = None
    """Of the images that it knows: 1 (gray) or 3 (RGB); None: both."""
