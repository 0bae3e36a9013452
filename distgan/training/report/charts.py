"""Line charts as inline SVG, in colours that are readable on a light and on a dark background."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from distgan.training.report.templates import fill_template

WIDTH, HEIGHT = 460, 220
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 14, 34  # margins
MAX_POINTS = 500  # of a curve; longer ones are thinned
MAX_DOTTED = 50  # points of a line that are marked by dots; an isolated point is visible only by its dot
STYLES = (
    ("", 3.2),
    ("9 5", 2.0),
    ("3 4", 1.2),
    ("9 3 2 3", 0.6),
)  # dashes and radius of dots: equal curves stay visible
COLOURS = ("#3b82f6", "#e8780c", "#10a36a", "#d9455f")

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """One curve of a chart, in the units of its axes."""

    label: str
    points: Points
    """x and y, x ascending; a NaN makes a gap."""
    dashed: bool = False


@dataclass(frozen=True)
class Line:
    """A drawn curve, in pixels."""

    label: str
    colour: str
    dashes: str
    """Lengths of dashes and gaps, pixels; empty: none."""
    dot: float
    """Radius of the dots, pixels; 0: none."""
    runs: list[Points]
    """The points between gaps."""


@dataclass(frozen=True)
class Chart:
    """A drawn chart, in pixels. As text it is a <figure> with an <svg>, whose labels are escaped."""

    title: str
    grid: list[tuple[float, str]]
    """y and label of each horizontal line."""
    ticks: list[tuple[float, str, str]]
    """x, label and anchor of each number below the x axis."""
    lines: list[Line]
    left: int = LEFT
    right: int = WIDTH - RIGHT
    width: int = WIDTH
    height: int = HEIGHT

    def __str__(self) -> str:
        return fill_template("chart.html.j2", chart=self, max_dotted=MAX_DOTTED)

    __html__ = __str__  # so that a page takes it as HTML


def line_chart(title: str, curves: Sequence[Curve], span: tuple[float, float] | None = None) -> Chart:
    """A chart of at most 4 curves against images seen.

    span: lowest and highest y; values beyond are drawn at the edge. None: the lowest and highest value. Without a
    finite value the axes stay empty.
    """
    finite = [point for curve in curves for point in curve.points if _is_finite(point)]
    right = max((x for x, _ in finite), default=1.0) or 1.0
    low, high = span or (min((y for _, y in finite), default=0.0), max((y for _, y in finite), default=1.0))
    if low == high:
        low, high = low - 0.5, high + 0.5

    def to_pixels(x: float, y: float) -> tuple[float, float]:
        share = (min(max(y, low), high) - low) / (high - low)
        column, row = LEFT + x / right * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
        return round(column, 1), round(row, 1)

    return Chart(
        title,
        grid=[(to_pixels(0, value)[1], y_label(value)) for value in (low, (low + high) / 2, high)],
        ticks=[
            (to_pixels(share * right, low)[0], f"{share * right:,.0f}", anchor)
            for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end"))
        ],
        lines=[
            Line(
                curve.label,
                colour,
                *(("6 4", 0.0) if curve.dashed else style),
                [[to_pixels(*point) for point in run] for run in _runs(curve.points)],
            )
            for curve, colour, style in zip(curves, COLOURS, STYLES, strict=False)
        ],
    )


def y_label(value: float) -> str:
    """A number in at most 9 characters, which fit beside the axis: 0.123, 1,280, 12.8k, 1.2e+15."""
    if abs(value) < 10_000:
        return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"
    for unit, factor in (("k", 1e3), ("M", 1e6), ("G", 1e9)):
        if abs(value) < 1000 * factor:
            return f"{value / factor:.4g}{unit}"
    return f"{value:.2g}"


def _runs(points: Points) -> Iterator[Points]:
    """The points between gaps, thinned."""
    thin = points[:: max(1, math.ceil(len(points) / MAX_POINTS))]
    for finite, run in groupby(thin, _is_finite):
        if finite:
            yield list(run)


def _is_finite(point: tuple[float, float]) -> bool:
    return all(map(math.isfinite, point))
