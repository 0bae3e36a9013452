"""Pure functions of seeds and latent vectors: what a seed may be, truncation, the way between two latents."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import SupportsFloat

import torch
from torch import Tensor

from distgan.utils.errors import ExportError


def check_seeds(seeds: Iterable[int]) -> list[int]:
    """Seeds as a list. Raises ExportError unless each is a whole number in 0 ... 2**63 - 1."""
    if isinstance(seeds, (str, int)):
        raise ExportError(f"seeds={seeds!r} must be a list of whole numbers, such as range(64)")
    checked = []
    for seed in seeds:
        try:
            number = operator.index(seed)
        except TypeError:
            number = -1
        if not 0 <= number < 2**63:
            raise ExportError(f"seed {seed} must be a whole number from 0 to 2**63 - 1")
        checked.append(number)
    return checked


def truncate(normal: Tensor, limit: float) -> Tensor:
    """Maps standard normal numbers to the normal distribution truncated to [-limit, limit]. normal: float64.

    The map Phi^-1(Phi(-t) + Phi(z) (Phi(t) - Phi(-t))) is exact, without rejection, and continuous in the limit t.
    It is odd, so it is computed on the lower tail, where float64 is precise. Raises ExportError unless limit is finite
    and above 0, also a number of numpy's or a tensor of one.
    """
    number = float(limit) if isinstance(limit, SupportsFloat) and not isinstance(limit, bool) else math.nan
    if not 0 < number < math.inf:
        raise ExportError(
            f"truncation={limit!r} must be a number above 0, such as 0.7; leave it out for the full distribution"
        )
    below = _lower_tail(torch.tensor(number, dtype=torch.float64))
    lower = torch.special.ndtri(below + _lower_tail(normal.abs()) * (1 - 2 * below))
    return torch.copysign(lower.clamp(-number, 0.0), normal)


def _lower_tail(x: Tensor) -> Tensor:
    """Phi(-x) for x >= 0, precise for large x, unlike torch.special.ndtr (2.13)."""
    return 0.5 * torch.special.erfc(x / math.sqrt(2))


def slerp(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Points on the arc from `start` to `end`, both included: [steps, d]. start, end: [d], not opposite.

    The length changes evenly from one's to the other's, so that points between normal vectors look like them (White
    2016, arXiv:1609.04468).
    """
    return slerp_at(start, end, torch.linspace(0, 1, steps, dtype=torch.float64)[:, None])


def slerp_at(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """The points of `slerp` at shares of the way, 0 to 1: [d] for a scalar, [n, d] for [n, 1], float32."""
    share = share.double()
    first, last = start.double().norm(), end.double().norm()
    one, other = start.double() / first, end.double() / last
    angle = (one * other).sum().clamp(-1, 1).acos()
    if angle < 1e-6:
        direction = torch.lerp(one, other, share)
    else:
        direction = (((1 - share) * angle).sin() * one + (share * angle).sin() * other) / angle.sin()
    return (direction * torch.lerp(first, last, share)).float()
