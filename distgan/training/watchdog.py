"""Bad numbers: what is wrong with a run's metrics, judged from the lines that are logged anyway.

In: one line of metrics (host floats, the same on every rank). Out: what was found. Nothing here waits for a device,
and the judge's memory is plain values, so that it goes into the checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median
from typing import Any, Literal, NamedTuple

import torch
from pydantic import BaseModel, FiniteFloat, ValidationError
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from distgan.config.messages import first_mistake
from distgan.config.schema import WatchdogConfig
from distgan.utils.errors import CheckpointError

Fault = Literal["nonfinite", "exploding", "saturated", "collapse"]
LINES = 20  # of gradient norms that make "usual"
MIN = 5  # before that, nothing is called unusual
WEIGHT_NORMS = ("weight_norm/d", "weight_norm/g")
FINITE = ("loss/d", "loss/g", *WEIGHT_NORMS)
NORMS = ("grad_norm/d", "grad_norm/g")


class Finding(NamedTuple):
    fault: Fault
    text: str
    healthy_step: int
    """The last step that was certainly before it."""


class Streak(BaseModel):
    """Lines in a row on which D was right about nearly everything."""

    lines: int = 0
    since: int = 0


class Memory(BaseModel):
    """What the judge has seen; in every checkpoint."""

    step: int = 0
    """Of the last line of metrics."""
    rollbacks: int = 0
    nonfinite: bool = False
    """Whether that has been told and is not over; so is `exploding`, by gradient."""
    exploding: list[str] = []
    norms: dict[str, list[FiniteFloat]] = {}
    """Gradient norms of the last lines, by name."""
    saturated: Streak = Streak()
    diverse_step: int | None = None
    """When the samples were last found diverse; None before that and after a collapse has been told."""


class Watchdog:
    """The judge."""

    def __init__(self, config: WatchdogConfig) -> None:
        self.config, self.memory = config, Memory()

    def healthy_step(self, now: int) -> int:
        """The step that a rollback might have to go back to, if the next look finds a fault."""
        config, memory = self.config, self.memory
        steps = [now]
        if config.exploding == "rollback":
            steps.append(memory.step)
        if config.saturated == "rollback" and memory.saturated.lines:
            steps += [memory.saturated.since, memory.step]
        if config.collapse == "rollback" and memory.diverse_step is not None:
            steps.append(memory.diverse_step)
        return min(steps)

    def restore(self, values: Mapping[str, Any]) -> None:
        """Remembers what a checkpoint's values say. Raises CheckpointError if that is no memory of a watchdog."""
        try:
            self.memory = Memory.model_validate(values.get("watchdog", {}))
        except ValidationError as error:
            raise CheckpointError(f"the checkpoint is damaged: {first_mistake(error, 'watchdog')}") from None

    def look(self, step: int, metrics: Mapping[str, float]) -> list[Finding]:
        """At one line of metrics: means since the line before it."""
        before, self.memory.step = self.memory.step, step
        return self.look_at_weights(step, metrics) or [
            *self._exploding(metrics, before),
            *self._saturated(metrics, before),
        ]

    def look_at_weights(self, step: int, metrics: Mapping[str, float]) -> list[Finding]:
        """At the losses and the norms of the weights among `metrics`. A fault is told once, until it is over."""
        bad = [f"{name} is {metrics[name]}" for name in FINITE if name in metrics and not math.isfinite(metrics[name])]
        told, self.memory.nonfinite = self.memory.nonfinite, bool(bad)
        # every checkpoint's weights were finite when it was written
        return [Finding("nonfinite", ", ".join(bad), step - 1)] if bad and not told else []

    def look_at_samples(self, step: int, diversity: float) -> list[Finding]:
        """At the diversity of new samples (see `diversity`). It has to be good once before it can be bad."""
        low, before = self.config.diversity_low, self.memory.diverse_step
        self.memory.diverse_step = step if diversity >= low else None
        if diversity >= low or before is None:
            return []
        text = f"the generator's images are alike: diversity {diversity:.3f} of the reals', below {low:g}"
        return [Finding("collapse", text, before)]

    def _exploding(self, metrics: Mapping[str, float], before: int) -> list[Finding]:
        found, told = [], self.memory.exploding
        for name in NORMS:
            past, norm = self.memory.norms.setdefault(name, []), metrics[name]
            if not math.isfinite(norm):  # an fp16 update that was skipped
                continue
            usual = median(past) if len(past) >= MIN else math.inf
            past.append(norm)
            del past[:-LINES]
            if norm <= self.config.gradient_factor * usual:
                told[:] = [other for other in told if other != name]
            elif name not in told:
                told.append(name)
                text = f"{name} {norm:.3g} is more than {self.config.gradient_factor:g} times the usual {usual:.3g}"
                found.append(Finding("exploding", text, before))
        return found

    def _saturated(self, metrics: Mapping[str, float], before: int) -> list[Finding]:
        right, streak = min(metrics["d/real_accuracy"], metrics["d/fake_accuracy"]), self.memory.saturated
        if right < self.config.saturated_accuracy:
            streak.lines = 0
            return []
        streak.since = streak.since if streak.lines else before
        streak.lines += 1
        if streak.lines != self.config.saturated_lines:  # said once per streak
            return []
        text = f"D has been right about {right:.1%} of all images for {streak.lines} lines; G learns nothing"
        return [Finding("saturated", text, streak.since)]


def gravest(config: WatchdogConfig, findings: list[Finding]) -> Finding | None:
    """The finding after which training does not go on from here: the first to roll back for, else to stop for."""
    for how in ("rollback", "stop"):
        for finding in findings:
            if reaction(config, finding) == how:
                return finding
    return None


def reaction(config: WatchdogConfig, finding: Finding) -> str:
    return str(getattr(config, finding.fault))


def diversity(fakes: Tensor, reals: Tensor) -> float:
    """How far apart the fakes are, as a share of the reals: mean distance to the nearest other image, at 8 x 8.

    fakes, reals: uint8 [N, 3, H, W]. 0: all fakes are the same; near 1: as different as reals. Doubles weigh fully, so
    that a few modes give a low value as one does.
    """
    count = min(len(fakes), len(reals))
    if count < 2:
        return math.nan
    apart = nearest(reals[:count])
    return nearest(fakes[:count]) / apart if apart else math.nan


def nearest(images: Tensor) -> float:
    """Mean distance of each image to its nearest other one."""
    small = adaptive_avg_pool2d(images.float(), 8).flatten(1)
    distances = torch.cdist(small, small, compute_mode="donot_use_mm_for_euclid_dist")
    return float(distances.fill_diagonal_(math.inf).min(dim=1).values.mean())
