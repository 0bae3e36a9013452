"""Line charts as inline SVG: text in, text out. Colours are readable on light and on dark ground."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

WIDTH, HEIGHT = 460, 220
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 14, 34  # margins
MAX_POINTS = 500  # of a curve; longer ones are thinned
COLOURS = ("#3b82f6", "#e8780c", "#10a36a", "#d9455f")


@dataclass(frozen=True)
class Curve:
    label: str
    points: Sequence[tuple[float, float]]
    """x and y, x ascending; a NaN leaves a gap."""
    dashed: bool = False


def line_chart(title: str, curves: Sequence[Curve], span: tuple[float, float] | None = None) -> str:
    """An <svg> of at most 4 curves over images seen. span: ends of the y axis; None: those of the values.

    Without a finite value the axes stay empty.
    """
    finite = [point for curve in curves for point in curve.points if all(map(math.isfinite, point))]
    right = max((x for x, _ in finite), default=1.0) or 1.0
    low, high = span or (min((y for _, y in finite), default=0.0), max((y for _, y in finite), default=1.0))
    if low == high:
        low, high = low - 0.5, high + 0.5

    def place(x: float, y: float) -> tuple[float, float]:
        share = (min(max(y, low), high) - low) / (high - low)
        return LEFT + x / right * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" font-size="11" role="img" aria-label="{escape(title)}">']
    for value in (low, (low + high) / 2, high):
        _, y = place(0, value)
        parts.append(f'<line stroke="#8884" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        x, _ = place(share * right, low)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 16}" text-anchor="{anchor}">{share * right:,.0f}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 2}" text-anchor="middle">images seen</text>')
    for curve, colour in zip(curves, COLOURS, strict=False):
        dash = ' stroke-dasharray="6 4"' if curve.dashed else ""
        for run in _runs(curve.points):
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in run))
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>')
            if len(run) < 50 and not curve.dashed:
                dots = (place(x, y) for x, y in run)
                parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{colour}"/>' for x, y in dots]
    keys = (
        f'<span style="color:{colour}">&#9632;</span> {escape(curve.label)}'
        for curve, colour in zip(curves, COLOURS, strict=False)
    )
    return f"<figure><figcaption>{escape(title)}: {' '.join(keys)}</figcaption>{''.join(parts)}</svg></figure>"


def _runs(points: Sequence[tuple[float, float]]) -> Iterator[list[tuple[float, float]]]:
    """The points between gaps, thinned."""
    thin = points[:: max(1, math.ceil(len(points) / MAX_POINTS))]
    for there, run in groupby(thin, lambda point: all(map(math.isfinite, point))):
        if there:
            yield list(run)
