"""Sums of metrics on the device: over the micro-batches of an update, and over steps until somebody looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from accelerate import Accelerator
from torch import Tensor


class Window:
    """What a controller watches, summed since its last look."""

    def __init__(self, names: tuple[str, ...], device: torch.device) -> None:
        """names: of the metrics."""
        self.names, self.sums, self.steps = names, torch.zeros(len(names), device=device), 0

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        self.sums += torch.stack([metrics[name] for name in self.names])
        self.steps += 1

    def means(self, accelerator: Accelerator) -> Tensor:
        """[names], over the window and all ranks; the same on every rank. Begins a new window."""
        means = accelerator.reduce(self.sums / self.steps, "mean")
        self.sums, self.steps = torch.zeros_like(self.sums), 0
        return means


class Sums:
    """Sums of detached metrics over micro-batches."""

    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}

    def add(self, name: str, value: Tensor) -> None:
        value = value.detach()
        self.values[name] = self.values[name] + value if name in self.values else value

    def means(self, parts: int) -> dict[str, Tensor]:
        return self.values if parts == 1 else {name: value / parts for name, value in self.values.items()}


def mean_of(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Each metric's mean over those parts that have it."""
    names = dict.fromkeys(name for part in parts for name in part)
    found = {name: [part[name] for part in parts if name in part] for name in names}
    return {name: torch.stack(values).mean(0) if len(values) > 1 else values[0] for name, values in found.items()}
