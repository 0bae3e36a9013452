"""Bad numbers: what is wrong with a run's metrics, judged from the lines that are logged anyway.

In: one line of metrics (host floats, the same on every rank). Out: what was found. Nothing here waits for a device,
and the judge's memory is plain values, so that it goes into the checkpoint.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from distgan.config import WatchdogConfig

Fault = Literal["nonfinite", "exploding", "saturated", "collapse"]
LINES = 20  # of gradient norms that make "usual"
FEWEST = 5  # before that, nothing is called unusual
FINITE = ("loss/d", "loss/g", "weight_norm/d", "weight_norm/g")
NORMS = ("grad_norm/d", "grad_norm/g")


class Finding(NamedTuple):
    fault: Fault
    text: str
    healthy_step: int
    """The last step that was certainly before it."""


@dataclass
class Watchdog:
    """The judge. `memory` is plain values and survives a restart."""

    config: WatchdogConfig
    memory: dict[str, Any] = field(default_factory=dict)

    @property
    def rollbacks(self) -> int:
        """Of this run, so far."""
        return int(self.memory.get("rollbacks", 0))

    def healthy_step(self, now: int) -> int:
        """The step that a rollback might have to go back to, if the next look finds a fault."""
        config, memory = self.config, self.memory
        steps = [now]
        if config.exploding == "rollback":
            steps.append(memory.get("step", 0))
        if config.saturated == "rollback" and "saturated" in memory:
            steps.append(memory["saturated"]["since"])
        if config.collapse == "rollback":
            steps.append(memory.get("diverse_step", now))
        return min(steps)

    def restore(self, values: Mapping[str, Any], rollbacks: int | None = None) -> None:
        """Remembers what a checkpoint's values say; rollbacks: their number, if it has grown since."""
        self.memory = copy.deepcopy(values.get("watchdog", {}))
        if rollbacks is not None:
            self.memory["rollbacks"] = rollbacks

    def look(self, step: int, metrics: Mapping[str, float]) -> list[Finding]:
        """At one line of metrics: means since the line before it."""
        before = self.memory.get("step", 0)
        self.memory["step"] = step
        return self.look_at_weights(step, metrics) or [
            *self._exploding(metrics, before),
            *self._saturated(metrics, before),
        ]

    def look_at_weights(self, step: int, metrics: Mapping[str, float]) -> list[Finding]:
        """At the losses and the norms of the weights among `metrics`. A fault is told once, until it is over."""
        bad = [f"{name} is {metrics[name]}" for name in FINITE if name in metrics and not math.isfinite(metrics[name])]
        told, self.memory["nonfinite"] = self.memory.get("nonfinite", False), bool(bad)
        # every checkpoint's weights were finite when it was written
        return [Finding("nonfinite", ", ".join(bad), step - 1)] if bad and not told else []

    def look_at_samples(self, step: int, diversity: float) -> list[Finding]:
        """At the diversity of new samples (see `diversity`). It has to be good once before it can be bad."""
        low, before = self.config.diversity_low, self.memory.get("diverse_step")
        if diversity >= low:
            self.memory["diverse_step"] = step
            return []
        if before is None:
            return []
        del self.memory["diverse_step"]  # said once; it must be good again first
        text = f"the generator's pictures are alike: diversity {diversity:.3f} of the reals', below {low:g}"
        return [Finding("collapse", text, before)]

    def _exploding(self, metrics: Mapping[str, float], before: int) -> list[Finding]:
        found, told = [], self.memory.setdefault("exploding", [])
        for name in NORMS:
            past, norm = self.memory.setdefault(name, []), metrics[name]
            if not math.isfinite(norm):  # an fp16 update that was skipped
                continue
            usual = median(past) if len(past) >= FEWEST else math.inf
            explodes = norm > self.config.gradient_factor * usual
            if explodes and name not in told:
                text = f"{name} {norm:.3g} is more than {self.config.gradient_factor:g} times the usual {usual:.3g}"
                found.append(Finding("exploding", text, before))
            self.memory["exploding"] = told = [*(other for other in told if other != name), *([name] * explodes)]
            past.append(norm)
            del past[:-LINES]
        return found

    def _saturated(self, metrics: Mapping[str, float], before: int) -> list[Finding]:
        right = min(metrics["d/real_accuracy"], metrics["d/fake_accuracy"])
        if right < self.config.saturated_accuracy:
            self.memory.pop("saturated", None)
            return []
        streak = self.memory.setdefault("saturated", {"lines": 0, "since": before})
        streak["lines"] += 1
        if streak["lines"] != self.config.saturated_lines:  # said once per streak
            return []
        text = f"D has been right about {right:.1%} of all pictures for {streak['lines']} lines; G learns nothing"
        return [Finding("saturated", text, streak["since"])]


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
    """How far apart the fakes are, as a share of the reals: mean distance to the nearest other picture, at 8 x 8.

    fakes, reals: uint8 [N, 3, H, W]. 0: all fakes are the same; near 1: as different as reals. Doubles weigh fully, so
    that a few modes give a low value as one does.
    """
    count = min(len(fakes), len(reals))
    if count < 2:
        return math.nan
    apart = nearest(reals[:count])
    return nearest(fakes[:count]) / apart if apart else math.nan


def nearest(pictures: Tensor) -> float:
    """Mean distance of each picture to its nearest other one."""
    small = adaptive_avg_pool2d(pictures.float(), 8).flatten(1)
    distances = torch.cdist(small, small, compute_mode="donot_use_mm_for_euclid_dist")
    return float(distances.fill_diagonal_(math.inf).min(dim=1).values.mean())
