"""A row of the table: who is measured beside whom, what is to be reached, and how that is said.

cpu_rows.py and gpu_rows.py have the rows themselves; what several of them are made of is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from benchmarks.speed.interleave import Side

NEVER = str(10**12)  # steps
FP32 = {"no": "fp32"}  # train.precision -> its name
OFF = {
    "wandb.mode": "disabled",
    **{f"{name}_steps": NEVER for name in ("log.every", "log.samples_every", "checkpoint.every")},
    "guard.every_steps": "null",
    **{f"watchdog.{fault}": "off" for fault in ("nonfinite", "exploding", "saturated", "collapse")},
}
"""Settings without anything that is done now and then."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    key: str
    what: str
    ours: Side
    other: Side | None = None
    unit: str = "step"
    measure: Literal["ratio", "rate", "seconds", "share", "growth"] = "ratio"
    """What the target is of: ours / other; units per second; seconds per unit; the share of the training's time, where
    ours does it `denser` times as often as by default, and other never; or what the peak memory, GiB, grows from the
    end of the first turn to that of the last."""
    target: float | None = None
    denser: int = 1
    precision: str = "no"
    share_of_peak: float | None = None
    """A second target: at least this share of the machine's peak."""
    most_rounds: int | None = None
    """Fewer rounds than the others have, for what is only there for its memory."""
    shorter: int = 1
    """So many times the rounds: turns are short, so that the sides are compared within seconds."""

    def rounds(self, asked: int) -> int:
        return self.shorter * min(asked, self.most_rounds or asked)

    def value(self, seconds: float, ratio: float, growth: float) -> float:
        return {
            "ratio": ratio,
            "rate": 1 / seconds,
            "seconds": seconds,
            "share": (ratio - 1) / self.denser,
            "growth": growth,
        }[self.measure]

    def met(self, value: float) -> bool:
        assert self.target is not None
        return value >= self.target if self.measure == "rate" else value <= self.target

    def shown(self, value: float) -> str:
        """The value as the target has it."""
        return {
            "ratio": f"{value:.3f}",
            "rate": f"{value:,.0f}/s",
            "seconds": f"{value:.1f} s",
            "share": f"{value:.2%}",
            "growth": f"{value:.3f} GiB more",
        }[self.measure]

    @property
    def goal(self) -> str:
        if self.target is None:
            return ""
        return f"{'at least' if self.measure == 'rate' else 'at most'} {self.shown(self.target)}"

    def with_python(self, python: str) -> Row:
        """Keras may have an environment of its own."""
        if self.other is None or not self.other.name.startswith("keras_seed."):
            return self
        return replace(self, other=self.other._replace(python=python))


def training(recipe: str, steps: int, settings: Mapping[str, str], label: str = "", processes: int = 1) -> Side:
    """distgan's own training, in turns of so many steps. settings: OFF and more for its steps alone."""
    named = {"label": label} if label else {}
    return Side("distgan_loop.training", {"recipe": recipe, "steps": str(steps), **settings, **named}, processes)


def step(recipe: str, bare: str, steps: int, precision: str, batch: int, shorter: int = 1) -> Row:
    """distgan's step beside a hand-written loop's."""
    options = {"precision": precision, "batch_size": str(batch), "steps": str(steps), "label": "bare PyTorch loop"}
    return Row(
        f"step_{recipe}_{precision}_{batch}",
        f"step of {recipe}, batch {batch}, {FP32.get(precision, precision)}",
        training(recipe, steps, OFF | {"train.precision": precision, "train.batch_size": str(batch)}),
        Side(f"pytorch_loop.{bare}", options),
        target=1.03,
        precision=precision,
        shorter=shorter,
    )


def peaks(calls: Mapping[str, int]) -> Iterator[Row]:
    """What FLOPs are compared with: the better of the two, in each precision. calls: of a turn, by precision."""
    for name, what in (("product", "large matrix product"), ("convolution", "large convolution")):
        ours, other = (
            Side(f"distgan_loop.{name}", {"precision": precision, "calls": str(calls[precision]), "label": label})
            for precision, label in (("bf16", "bf16"), ("no", "the same in fp32"))
        )
        yield Row(f"peak_{name}", f"{what}, bf16", ours, other, unit="call", precision="bf16")
