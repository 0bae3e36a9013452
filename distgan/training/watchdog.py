"""Finds bad numbers in the lines of metrics that are logged anyway.

In: one line of metrics (host floats, the same on every rank). Out: findings. Nothing here waits for a device. The
memory is plain values, so that it goes into the checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, FiniteFloat, ValidationError

from distgan.config.messages import first_mistake
from distgan.config.schema import WatchdogConfig
from distgan.utils.errors import CheckpointError

Fault = Literal["nonfinite", "exploding", "saturated", "collapse"]
LINES = 20  # of metrics, whose median gradient norm is the usual one
MIN_LINES = 5  # with fewer, no norm is unusual
WEIGHT_NORMS = ("weight_norm/d", "weight_norm/g")
FINITE = ("loss/d", "loss/g", *WEIGHT_NORMS)
NORMS = ("grad_norm/d", "grad_norm/g")


class Finding(NamedTuple):
    """A fault in a run's numbers."""

    fault: Fault
    text: str
    healthy_step: int
    """The last step that was certainly before the fault."""


class Streak(BaseModel):
    """Lines in a row on which D was right about nearly all images."""

    lines: int = 0
    since: int = 0


class WatchdogState(BaseModel):
    """State of a watchdog; in every checkpoint."""

    step: int = 0
    """Of the last line of metrics."""
    rollbacks: int = 0
    nonfinite: bool = False
    """The fault has been reported and is not over."""
    exploding: list[str] = []
    """Gradient norms whose fault has been reported and is not over."""
    norms: dict[str, list[FiniteFloat]] = {}
    """Gradient norms of the last lines, by name."""
    saturated: Streak = Streak()
    diverse_step: int | None = None
    """Step at which the samples were last diverse; None before that and after a reported collapse."""


class Watchdog:
    """Checks metrics and samples of one training. Attributes: config, memory."""

    def __init__(self, config: WatchdogConfig) -> None:
        self.config, self.memory = config, WatchdogState()

    def healthy_step(self, now: int) -> int:
        """The step that a rollback might have to go back to, if the next check finds a fault."""
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
        """Takes the memory of a checkpoint's values. Raises CheckpointError if it is damaged."""
        try:
            self.memory = WatchdogState.model_validate(values.get("watchdog", {}))
        except ValidationError as error:
            raise CheckpointError(f"the checkpoint is damaged: {first_mistake(error, 'watchdog')}") from None

    def check(self, step: int, metrics: Mapping[str, float]) -> list[Finding]:
        """Checks one line of metrics: means since the line before it."""
        before, self.memory.step = self.memory.step, step
        return self.check_weights(step, metrics) or [
            *self._exploding(metrics, before),
            *self._saturated(metrics, before),
        ]

    def check_weights(self, step: int, metrics: Mapping[str, float]) -> list[Finding]:
        """Checks losses and norms of weights, those that are in `metrics`. A fault is found once, until it is over."""
        bad = [f"{name} is {metrics[name]}" for name in FINITE if name in metrics and not math.isfinite(metrics[name])]
        known, whole = self.memory.nonfinite, all(name in metrics for name in FINITE)
        self.memory.nonfinite = bool(bad) or (known and not whole)  # what is not in `metrics` may be as bad as before
        # every checkpoint's weights were finite when it was written
        return [Finding("nonfinite", ", ".join(bad), step - 1)] if bad and not known else []

    def check_samples(self, step: int, diversity: float) -> list[Finding]:
        """Checks the diversity of new samples (samples.py). It has to be good once before it can be bad."""
        low, before = self.config.diversity_low, self.memory.diverse_step
        self.memory.diverse_step = step if diversity >= low else None
        if diversity >= low or before is None:
            return []
        text = f"the generator's images are alike: diversity {diversity:.3f} of the reals', below {low:g}"
        return [Finding("collapse", text, before)]

    def worst(self, findings: list[Finding]) -> Finding | None:
        """The finding that training does not go on from: the first to roll back for, else the first to stop for."""
        for reaction in ("rollback", "stop"):
            for finding in findings:
                if self.reaction(finding) == reaction:
                    return finding
        return None

    def reaction(self, finding: Finding) -> str:
        """The configured reaction: off, warn, alert, stop or rollback."""
        return str(getattr(self.config, finding.fault))

    def _exploding(self, metrics: Mapping[str, float], before: int) -> list[Finding]:
        found, known = [], self.memory.exploding
        for name in NORMS:
            past, norm = self.memory.norms.setdefault(name, []), metrics[name]
            if not math.isfinite(norm):  # an fp16 update that was skipped
                continue
            usual = median(past) if len(past) >= MIN_LINES else math.inf
            past.append(norm)
            del past[:-LINES]
            if norm <= self.config.gradient_factor * usual:
                known[:] = [other for other in known if other != name]
            elif name not in known:
                known.append(name)
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
        if streak.lines != self.config.saturated_lines:  # reported once per streak
            return []
        text = f"D has been right about {right:.1%} of all images for {streak.lines} lines; G learns nothing"
        return [Finding("saturated", text, streak.since)]
