"""Line charts as inline SVG; their colours and dashes are classes of style.css, so that each theme has its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from distgan.training.report.templates import fill_template

WIDTH, HEIGHT = 460, 230
LEFT, RIGHT, TOP, BOTTOM = 68, 12, 14, 36  # margins
MAX_POINTS = 500  # of a curve; longer ones are thinned
MAX_DOTTED = 50  # points of a line that are marked by dots; an isolated point is visible only by its dot
DOTS = (3.2, 2.0, 1.2, 0.6, 3.2, 2.0, 1.2, 0.6)  # radius by style: equal curves stay visible
LARGEST = 1e300  # a larger value is a gap: the difference of two would be infinite
ROOM = 0.1  # below and above a constant, as a share of it: a fixed room is lost in the rounding of a huge one
STYLES = len(DOTS)  # colour and dashes; style.css has .s0, .s1, ...

Point = tuple[float, float]
Points = Sequence[Point]


@dataclass(frozen=True)
class Curve:
    """One curve of a chart, in the units of its axes."""

    label: str
    points: Points
    """x and y, x ascending; a NaN makes a gap."""
    dashed: bool = False
    """A thin dashed line without dots: a limit, not a measurement."""
    best: Point | None = None
    """A point that is marked."""
    style: int | None = None
    """Number of its colour and dashes, 0 to 7; None: its place in the chart."""


@dataclass(frozen=True)
class Line:
    """A drawn curve, in pixels."""

    label: str
    style: str
    """Its class in style.css."""
    dot: float
    """Radius of the dots, pixels; 0: none."""
    runs: list[list[Point]]
    """The points between gaps."""
    best: Point | None
    last: str
    """The last value, as text; empty if there is none."""

    @property
    def texts(self) -> list[str]:
        """`points` of each run's polyline."""
        return [" ".join(f"{x:g},{y:g}" for x, y in run) for run in self.runs]

    @property
    def dots(self) -> list[Point]:
        """Centres of the dots, of the runs that are short enough."""
        return [point for run in self.runs if len(run) < MAX_DOTTED for point in run] if self.dot else []


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
        return fill_template("chart.html.j2", chart=self)

    __html__ = __str__  # so that a page takes it as HTML


def line_chart(title: str, curves: Sequence[Curve], span: tuple[float, float] | None = None) -> Chart:
    """A chart of at most 8 curves against images seen.

    span: lowest and highest y; values beyond are drawn at the edge. None: the lowest and highest value. Without a
    finite value the axes stay empty.
    """
    finite = [point for curve in curves for point in curve.points if _is_finite(point)]
    right = max((x for x, _ in finite), default=1.0) or 1.0
    low, high = span or (min((y for _, y in finite), default=0.0), max((y for _, y in finite), default=1.0))
    if low == high:
        room = max(0.5, abs(low) * ROOM)
        low, high = low - room, high + room

    def to_pixels(x: float, y: float) -> Point:
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
                "limit" if curve.dashed else f"s{place if curve.style is None else curve.style}",
                0.0 if curve.dashed else DOTS[place],
                [[to_pixels(*point) for point in run] for run in _runs(curve.points)],
                curve.best and to_pixels(*curve.best),
                next((y_label(y) for x, y in reversed(curve.points) if _is_finite((x, y))), ""),
            )
            for place, curve in enumerate(curves[:STYLES])
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


def thin(points: Points, most: int = MAX_POINTS) -> Points:
    """About `most` of the points at most: the first and the last, and of neighbours the lowest and the highest, so that
    no peak is lost, and a gap.
    """
    if len(points) <= most:
        return points
    size = math.ceil(3 * len(points) / most)
    inner = points[1:-1]
    kept = [point for start in range(0, len(inner), size) for point in _extremes(inner[start : start + size])]
    return [points[0], *kept, points[-1]]


def _extremes(points: Points) -> list[Point]:
    """The lowest and the highest point, and one of a gap, in their order."""
    finite = [point for point in points if _is_finite(point)]
    gap = next((point for point in points if not _is_finite(point)), None) if len(finite) < len(points) else None
    low, high = (min(finite, key=_value), max(finite, key=_value)) if finite else (None, None)
    return [point for point in points if point is low or point is high or point is gap]


def _runs(points: Points) -> Iterator[list[Point]]:
    """The points between gaps, thinned."""
    for finite, run in groupby(thin(points), _is_finite):
        if finite:
            yield list(run)


def _value(point: Point) -> float:
    return point[1]


def _is_finite(point: Point) -> bool:
    return math.isfinite(point[0]) and abs(point[1]) < LARGEST
