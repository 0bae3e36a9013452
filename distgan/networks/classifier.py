"""A small residual classifier (He et al. 2016) of 0.6 million weights, which judges generated images.

It is trained on the real images of one data set (metrics/classifier_training.py), so that it knows their classes and
owes nothing to ImageNet. Its first layer brings any size from 32 on to 32 to 63 pixels.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

FIRST = 16  # channels of the first layer
WIDTHS = (32, 96, 192)  # channels of the stages; each halves height and width
DIMENSION = WIDTHS[-1]


class Layer(nn.Module):
    """Convolution, batch norm, ReLU; `halve`: with max pooling after the convolution."""

    def __init__(self, given: int, wanted: int, *, kernel: int = 3, stride: int = 1, halve: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(given, wanted, kernel, stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(wanted)
        self.halve = halve

    def forward(self, images: Tensor) -> Tensor:
        """[B, given, H, W] -> [B, wanted, H, W], or of half the height and width."""
        made = self.conv(images)
        return relu(self.norm(max_pool2d(made, 2) if self.halve else made))


class Stage(nn.Module):
    """A layer that halves the image, and one whose result is added to its own."""

    def __init__(self, given: int, wanted: int) -> None:
        super().__init__()
        self.down, self.rest = Layer(given, wanted, halve=True), Layer(wanted, wanted)

    def forward(self, images: Tensor) -> Tensor:
        """[B, given, H, W] -> [B, wanted, H // 2, W // 2]."""
        down = self.down(images)
        return cast(Tensor, down + self.rest(down))


class Classifier(nn.Module):
    """Images in, pooled features and the classes' logits out."""

    def __init__(self, size: int, channels: int, classes: int) -> None:
        """size: height and width of the images, 16 or more pixels."""
        super().__init__()
        stride = max(size // 32, 1)
        self.first = Layer(channels, FIRST, kernel=stride + 2, stride=stride)
        self.stages = nn.Sequential(*(Stage(*pair) for pair in zip((FIRST, *WIDTHS), WIDTHS, strict=False)))
        self.last = nn.Linear(DIMENSION, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """float [B, channels, size, size] in -1 ... 1 -> [B, DIMENSION], [B, classes]."""
        features = self.stages(self.first(images.contiguous(memory_format=torch.channels_last))).mean(dim=(2, 3))
        return features, self.last(features)
