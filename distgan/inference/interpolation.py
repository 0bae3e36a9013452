"""Images between two seeds."""

from __future__ import annotations

import torch
from torch import Tensor

from distgan.inference.generator import Generator


def interpolate(generator: Generator, start: int, end: int, steps: int) -> Tensor:
    """The images on the way from one seed to another, both included: uint8 [steps, channels, size, size] on the CPU.

    steps: at least 2. The images of a conditional generator are of the class that `start` has in `sample`. Raises
    ExportError for a wrong seed.
    """
    first, last = generator.latents([start, end])
    labels = generator.labels([start])
    return generator.pixels(slerp(first, last, steps), None if labels is None else labels.expand(steps))


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
