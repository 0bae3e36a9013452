"""Classes as often as a data set has them; where all are equally many, each as often as the others."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from distgan.utils.rng import Draws

GOLDEN = (math.sqrt(5) - 1) / 2  # its multiples fill (0, 1) evenly, however many there are


class ClassDraws:
    """Draws classes: class i as often as it has images among all."""

    def __init__(self, counts: Sequence[int], device: torch.device) -> None:
        """counts: images of each class."""
        self._total, self._classes = sum(counts), len(counts)
        self._ends = None if is_even(counts) else torch.tensor(counts, device=device).cumsum(0)

    def __call__(self, draws: Draws) -> Tensor:
        """int64 [rows]; on the device, without a wait."""
        if self._ends is None:
            return draws.integers(self._classes)
        return torch.bucketize(draws.integers(self._total), self._ends, right=True)


def is_even(counts: Sequence[int]) -> bool:
    """Whether all classes have equally many images."""
    return len(set(counts)) < 2


def spread(count: int, counts: Sequence[int]) -> Tensor:
    """Classes of the numbers 0 ... count - 1, int64 [count]: each of them as often as its share of `counts` says.

    Number n is at n times the golden ratio, modulo 1, of the images in the order of their classes: so any stretch of
    numbers has about these shares, and a number's class does not depend on how many there are.
    """
    places = torch.arange(count, dtype=torch.float64) * GOLDEN % 1 * sum(counts)
    return torch.bucketize(places, torch.tensor(counts, dtype=torch.float64).cumsum(0), right=True)
