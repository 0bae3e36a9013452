"""Images between two seeds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from distgan.inference.generator import Generator


def interpolate(generator: Generator, pairs: Sequence[tuple[int, int]], steps: int) -> Tensor:
    """The images on the way from each pair's first seed to its second, both included.

    steps: for each pair, at least 2. Returns uint8 [pairs * steps, channels, size, size] on the CPU. The images of a
    conditional generator are of the class that the first seed has in `sample`. Raises ExportError for a wrong seed.
    """
    latents = [generator.latents(pair) for pair in pairs]
    ways = [slerp(ends[0], ends[1], steps) for ends in latents]
    labels = generator.labels([start for start, _ in pairs])
    return generator.pixels(torch.cat(ways), None if labels is None else labels.repeat_interleave(steps))


def slerp(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Points on the arc from `start` to `end`, both included: [steps, d]. start, end: [d], not opposite.

    The length changes evenly from one's to the other's, so that points between normal vectors look like them (White
    2016, arXiv:1609.04468).
    """
    shares = torch.linspace(0, 1, steps, dtype=torch.float64)[:, None]
    lengths = torch.stack([start.double().norm(), end.double().norm()])
    one, other = start.double() / lengths[0], end.double() / lengths[1]
    angle = (one * other).sum().clamp(-1, 1).acos()
    if angle < 1e-6:
        directions = torch.lerp(one, other, shares)
    else:
        directions = (((1 - shares) * angle).sin() * one + (shares * angle).sin() * other) / angle.sin()
    return (directions * torch.lerp(lengths[:1], lengths[1:], shares)).float()
