"""Frechet distance against seconds as one SVG: a panel for each judge, a curve for each recipe, both axes logarithmic.

Its colours, dashes and dots are those of the report's charts, so that it has a light and a dark form; text is text.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from typing import NamedTuple

from benchmarks.common.svg import style
from benchmarks.quality.rows import Key, Row, files
from distgan.metrics.registry import full_name
from distgan.training.report.charts import STYLES, Point, y_label
from distgan.utils.errors import QualityError

WIDTH, HEIGHT = 460, 300  # of a panel, pixels
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 34, 40  # margins
KEY_WIDTH, KEY_HEIGHT, KEYS = 220, 18, 4  # of an entry of the legend; entries in a line
DOT, CAP = 3.0, 3.0  # radius of a dot, half the width of a range's ends
FLOOR = "other real images"
OWN_STYLE = """
text { font: 12px system-ui, sans-serif; fill: var(--text); }
.title { font-weight: bold; }
.range { fill: none; stroke-width: 1.2; stroke-dasharray: none !important; }
"""


class Measured(NamedTuple):
    """A point of a curve."""

    seconds: int
    values: tuple[float, ...]
    """One for each seed, above 0."""

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)


class Panel(NamedTuple):
    title: str
    curves: Mapping[str, Sequence[Measured]]
    """By recipe, seconds ascending."""
    floor: float | None
    """The value of other real images."""


class Axis(NamedTuple):
    """A logarithmic axis: values from low to high lie between two pixels."""

    low: float
    high: float
    begin: float
    end: float

    def at(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return round(self.begin + share * (self.end - self.begin), 1)


def chart(rows: Mapping[Key, Row], judges: Sequence[str]) -> str:
    """SVG, the same text for the same rows; empty if no row has a Frechet distance. Raises QualityError for more
    recipes than there are styles.
    """
    panels = [panel for judge in judges if (panel := panel_of(rows, judge)).curves]
    recipes = [name for name in files() if any(name in panel.curves for panel in panels)]
    check_curves(recipes)
    if not panels:
        return ""
    styles = {name: f"s{place}" for place, name in enumerate(recipes)}
    per_line = KEYS if len(panels) > 1 else KEYS // 2
    top = KEY_HEIGHT * -(-(len(recipes) + 1) // per_line) + 8
    width, height = WIDTH * len(panels), top + HEIGHT
    parts = [*_legend(styles, per_line, any(panel.floor for panel in panels))]
    for place, panel in enumerate(panels):
        parts += [f'<g transform="translate({place * WIDTH} {top})">', *_panel(panel, styles), "</g>"]
    title = f"Frechet distance against seconds of training: {', '.join(recipes)}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{title}">'
    page = f'<rect width="{width}" height="{height}" fill="var(--page)"/>'
    return "\n".join([head, f"<style>{style(OWN_STYLE)}</style>", page, *parts, "</svg>"]) + "\n"


def check_curves(recipes: Collection[str]) -> None:
    """Raises QualityError for more recipes than there are styles."""
    if len(recipes) > STYLES:
        raise QualityError(
            f"a chart has at most {STYLES} curves, and there are {len(recipes)} recipes; leave --chart out"
        )


def panel_of(rows: Mapping[Key, Row], judge: str) -> Panel:
    """What a judge says."""
    scored = {key: row.scores[judge] for key, row in rows.items() if judge in row.scores}
    name = full_name("fd", judge)
    floor = next((each.real_values[name] for each in scored.values() if name in each.real_values), None)
    found: dict[str, dict[int, list[float]]] = {}
    for key in sorted(scored):
        if (value := scored[key].values.get(name, 0.0)) > 0:
            found.setdefault(key.recipe, {}).setdefault(key.seconds, []).append(value)
    curves = {
        recipe: [Measured(seconds, tuple(values)) for seconds, values in points.items()]
        for recipe, points in found.items()
    }
    return Panel(name, curves, floor if floor and floor > 0 else None)


def _legend(styles: Mapping[str, str], per_line: int, has_floor: bool) -> Iterable[str]:
    entries = [*styles.items(), *([(FLOOR, "limit")] if has_floor else [])]
    for place, (name, css) in enumerate(entries):
        x, y = LEFT + place % per_line * KEY_WIDTH, KEY_HEIGHT * (place // per_line + 1)
        dot = "" if css == "limit" else f'<circle class="{css}" cx="{x + 13}" cy="{y - 4}" r="{DOT:g}"/>'
        yield f'<polyline class="{css}" points="{x},{y - 4} {x + 26},{y - 4}"/>{dot}'
        yield f'<text x="{x + 32}" y="{y}">{escape(name)}</text>'


def _panel(panel: Panel, styles: Mapping[str, str]) -> Iterable[str]:
    """Title, axes, floor, curves."""
    points = [point for curve in panel.curves.values() for point in curve]
    x = axis([point.seconds for point in points], LEFT, WIDTH - RIGHT)
    floor = [panel.floor] if panel.floor else []
    y = axis([value for point in points for value in point.values] + floor, HEIGHT - BOTTOM, TOP)
    yield f'<text class="title" x="{LEFT}" y="18">{escape(panel.title)}</text>'
    for value in ticks(y.low, y.high):
        yield f'<path class="grid" d="M{LEFT} {y.at(value)}H{WIDTH - RIGHT}"/>'
        yield f'<text x="{LEFT - 6}" y="{y.at(value)}" dy="4" text-anchor="end">{y_label(value)}</text>'
    for seconds in apart(sorted({point.seconds for point in points}), x):
        yield f'<text x="{x.at(seconds)}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{duration(seconds)}</text>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield f'<text x="{middle:g}" y="{HEIGHT - 5}" text-anchor="middle">time of training</text>'
    if panel.floor:
        yield f'<path class="limit" d="M{LEFT} {y.at(panel.floor)}H{WIDTH - RIGHT}"/>'
    for recipe, curve in panel.curves.items():
        yield from _curve(curve, styles[recipe], x, y)


def _curve(curve: Sequence[Measured], css: str, x: Axis, y: Axis) -> Iterable[str]:
    """A line through the means, a dot at each, and the range of the seeds."""
    means: list[Point] = [(x.at(point.seconds), y.at(point.mean)) for point in curve]
    yield f'<polyline class="{css}" points="{" ".join(f"{column},{row}" for column, row in means)}"/>'
    for point, (column, row) in zip(curve, means, strict=True):
        if len(point.values) > 1:
            low, high = y.at(min(point.values)), y.at(max(point.values))
            ends = "".join(f"M{column - CAP:g} {end}h{2 * CAP:g}" for end in (low, high))
            yield f'<path class="range {css}" d="M{column} {low}V{high}{ends}"/>'
        yield f'<circle class="{css}" cx="{column}" cy="{row}" r="{DOT:g}"/>'


def axis(values: Sequence[float], begin: float, end: float) -> Axis:
    """From the lowest to the highest value with some room on both sides. values: above 0."""
    low, high = min(values), max(values)
    room = (high / low) ** 0.06 if high > low else 1.5
    return Axis(low / room, high * room, begin, end)


def ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between two values; 1 to 9 times where those are fewer than two."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), range(1, 10)):
        found = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(found) > 1:
            break
    return found or [math.sqrt(low * high)]


def apart(seconds: Sequence[int], x: Axis, pixels: float = 48) -> list[int]:
    """Those whose labels do not overlap, beginning with the longest."""
    kept: list[int] = []
    for each in reversed(seconds):
        if not kept or x.at(kept[-1]) - x.at(each) >= pixels:
            kept.append(each)
    return kept[::-1]


def duration(seconds: int) -> str:
    """45 s, 10 min, 1.5 h."""
    for unit, factor in (("h", 3600), ("min", 60)):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds} s"
