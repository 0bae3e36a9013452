"""Which metrics share a chart, and in which section of the page it stands.

In: the histories of one run or of several. Out: sections of charts. Metrics that no panel names have a chart each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from distgan.training.report.charts import STYLES, Chart, Curve, Points, line_chart
from distgan.training.report.history import History
from distgan.training.tracking.curves import readable_top

QUALITY = "quality/"  # metrics that scores.jsonl has with their protocol
HEALTH, SPEED, SYSTEM, OTHERS = "Health", "Speed", "System", "Further metrics"
SECTIONS = (HEALTH, SPEED, SYSTEM, OTHERS)
PREFIXES = {"speed/": SPEED, "ranks/": SPEED, "memory/": SYSTEM, "data/": SYSTEM, "precision/": HEALTH}


@dataclass(frozen=True)
class Panel:
    """A chart of one run."""

    section: str
    title: str
    curves: tuple[tuple[str, str], ...]
    """Metric and label."""
    span: tuple[float, float] | None = None
    """Lowest and highest y; None: of the values, without a few huge ones."""


def _pair(title: str, name: str, span: tuple[float, float] | None = None) -> Panel:
    """One metric of D and of G."""
    return Panel(HEALTH, title, ((f"{name}/d", "D"), (f"{name}/g", "G")), span)


SHARE = (0.0, 1.0)
_PROBABILITY = (("d/real_prob", "real"), ("d/fake_prob", "fake"))
_LOGITS = (("d/real_logit", "real"), ("d/fake_logit", "fake"), ("d/samples_logit", "the fixed samples"))
_STEPS = (("speed/step_seconds_median", "median"), ("speed/step_seconds_p95", "95th percentile"))
_RANKS = (("ranks/step_seconds_fastest", "fastest"), ("ranks/step_seconds_slowest", "slowest"))
_RANKS_DATA = (("ranks/data_wait_lowest", "lowest"), ("ranks/data_wait_highest", "highest"))
PANELS = (
    _pair("loss", "loss"),
    Panel(HEALTH, "D's probability of real", _PROBABILITY, SHARE),
    Panel(HEALTH, "D's logits", _LOGITS),
    Panel(HEALTH, "D's accuracy", (("d/real_accuracy", "real"), ("d/fake_accuracy", "fake")), SHARE),
    _pair("gradient norms", "grad_norm"),
    _pair("weight norms", "weight_norm"),
    _pair("learning rates", "lr"),
    Panel(HEALTH, "spectral norms", (("d/spectral_norm_min", "lowest"), ("d/spectral_norm_max", "highest"))),
    Panel(HEALTH, "penalty", (("loss/penalty", "added to D's loss"),)),
    Panel(HEALTH, "mode seeking", (("loss/mode_seeking", "added to G's loss"),)),
    Panel(HEALTH, "augmentation", (("augment/p", "probability"),), SHARE),
    Panel(
        HEALTH,
        "balance",
        (("balance/lr_scale", "D's learning rate, factor"), ("balance/dropout", "D's dropout")),
        SHARE,
    ),
    Panel(HEALTH, "actions of the balance", (("balance/action", "since the last line"),)),
    Panel(HEALTH, "diversity of the samples", (("watchdog/diversity", "share of the reals'"),)),
    Panel(HEALTH, "rollbacks", (("watchdog/rollbacks", "so far"),)),
    Panel(HEALTH, "loss scale", (("precision/scale_d", "D"), ("precision/scale_g", "G"))),
    Panel(SPEED, "images per second", (("speed/images_per_second", "all processes"),)),
    Panel(SPEED, "TFLOP/s", (("speed/tflops", "all processes"),)),
    Panel(SPEED, "share of the device's peak", (("speed/peak_share", "share"),), SHARE),
    Panel(SPEED, "time of a step, s", _STEPS),
    Panel(SPEED, "time spent waiting for data", (("speed/data_wait", "share"),), SHARE),
    Panel(SPEED, "time of a step by rank, s", _RANKS),
    Panel(SPEED, "waiting for data by rank", _RANKS_DATA, SHARE),
    Panel(SYSTEM, "memory of the device, GiB", (("memory/device_gb", "peak"),)),
    Panel(SYSTEM, "memory of the process, GiB", (("memory/host_gb", "now"),)),
    Panel(SYSTEM, "bad images replaced", (("data/skipped", "so far"),)),
)
_KNOWN = {name for panel in PANELS for name, _ in panel.curves}


class Section(NamedTuple):
    """Charts under one heading."""

    title: str
    charts: list[Chart]


class NamedHistory(NamedTuple):
    """One of several runs."""

    name: str
    history: History


def panels_of(names: Iterable[str]) -> list[Panel]:
    """The panels that show these metrics, the scores left out; those that no panel names come last, one by one."""
    known = list(names)
    others = [name for name in known if name not in _KNOWN and not name.startswith(QUALITY)]
    shown = [panel for panel in PANELS if any(name in known for name, _ in panel.curves)]
    return [*shown, *(Panel(_section_of(name), name, ((name, "value"),)) for name in others)]


def sections_of(history: History) -> list[Section]:
    """The charts of one run; a metric of D and the same one of G share a chart."""
    return _sections(
        (
            panel.section,
            metric_chart(
                panel.title,
                [Curve(label, points) for name, label in panel.curves if (points := history.points(name))],
                panel.span,
            ),
        )
        for panel in panels_of(history.names)
    )


def sections_of_all(runs: Sequence[NamedHistory]) -> list[Section]:
    """The charts of at most 8 runs: one for each metric, with a curve for each run that has it."""
    return _sections(
        (
            panel.section,
            metric_chart(
                panel.title if len(panel.curves) == 1 else f"{panel.title}: {label}",
                [
                    Curve(run.name, points, style=place)
                    for place, run in enumerate(runs[:STYLES])
                    if (points := run.history.points(name))
                ],
                panel.span,
            ),
        )
        for panel in panels_of(dict.fromkeys(name for run in runs for name in run.history.names))
        for name, label in panel.curves
        if any(run.history.points(name) for run in runs)
    )


def metric_chart(title: str, curves: Sequence[Curve], span: tuple[float, float] | None = None) -> Chart:
    """A chart; without a span a few huge values are cut off, and the title says so."""
    values = [y for curve in curves for _, y in curve.points if math.isfinite(y)]
    if span is None and (top := readable_top(values)):
        return line_chart(f"{title} (cut off at {top:.3g})", curves, (min(values), top))
    return line_chart(title, curves, span)


def floor(points: Points, value: float) -> Points:
    """A level line as long as a curve: what other real images score."""
    return [(0, value), (max((x for x, _ in points), default=1.0), value)]


def _sections(charts: Iterable[tuple[str, Chart]]) -> list[Section]:
    """The charts by section, empty ones left out."""
    made = list(charts)
    sections = [Section(title, [chart for section, chart in made if section == title]) for title in SECTIONS]
    return [section for section in sections if section.charts]


def _section_of(name: str) -> str:
    return next((section for prefix, section in PREFIXES.items() if name.startswith(prefix)), OTHERS)
