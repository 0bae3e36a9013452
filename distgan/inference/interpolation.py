"""Images between two seeds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from distgan.inference.generator import Generator
from distgan.inference.latents import slerp


def rows_between(generator: Generator, pairs: Sequence[tuple[int, int]], steps: int) -> Tensor:
    """The images on the way from each pair's first seed to its second, both included.

    steps: for each pair, at least 2. Returns uint8 [pairs * steps, channels, size, size] on the CPU. Unlike those of
    `Generator.interpolate`, the images of a conditional generator are all of the class that the first seed has in
    `sample`. Raises ExportError for a wrong seed.
    """
    latents = [generator.latents(pair) for pair in pairs]
    ways = [slerp(ends[0], ends[1], steps) for ends in latents]
    labels = generator.labels([start for start, _ in pairs])
    return generator.pixels(torch.cat(ways), None if labels is None else labels.repeat_interleave(steps))
