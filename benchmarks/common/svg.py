"""The report's charts as one SVG file that stands alone, for documents: light and dark, text as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from distgan.training.report.charts import Chart
from distgan.training.report.templates import asset

COLUMNS, GAP = 2, 26  # charts in a line; pixels above each, for its title
KEY_HEIGHT, KEY_WIDTH = 26, 200  # of an entry of the legend
OWN_STYLE = "text { font: 12px system-ui, sans-serif; fill: var(--text); } .title { font-weight: bold; }"


def charts_svg(title: str, charts: Sequence[Chart], unit: str) -> str:
    """SVG, the same text for the same charts; at least one chart. unit: of all x axes. The legend has the curves of the
    first one.
    """
    wide, high = charts[0].width, charts[0].height + GAP
    width, height = wide * min(COLUMNS, len(charts)), KEY_HEIGHT + high * -(-len(charts) // COLUMNS)
    parts = [*_legend(charts[0])]
    for place, chart in enumerate(charts):
        x, y = place % COLUMNS * wide, KEY_HEIGHT + place // COLUMNS * high
        parts += [f'<g transform="translate({x} {y})">', *_chart(chart, unit), "</g>"]
    size = f'viewBox="0 0 {width} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(title)}">'
    page = f'<rect width="{width}" height="{height}" fill="var(--page)"/>'
    return "\n".join([head, f"<style>\n{style(OWN_STYLE)}\n</style>", page, *parts, "</svg>"]) + "\n"


def style(own: str) -> str:
    """What the report's style sheet says of the two themes and of curves, and the rules of a file of its own."""
    sheet = asset("style.css")
    rules = re.findall(r"^(?:\.s\d|circle\.s|circle |\.grid|\.limit|polyline).*$", sheet, flags=re.M)
    return "\n".join([sheet[: sheet.index("\nbody ")], *rules, own])


def _legend(chart: Chart) -> Iterable[str]:
    for place, line in enumerate(chart.lines):
        x = chart.left + place * KEY_WIDTH
        yield f'<polyline class="{line.style}" points="{x},14 {x + 26},14"/>'
        yield f'<text x="{x + 32}" y="18">{escape(line.label)}</text>'


def _chart(chart: Chart, unit: str) -> Iterable[str]:
    """Title, axes, curves."""
    yield f'<text class="title" x="{chart.left}" y="18">{escape(chart.title)}</text>'
    yield f'<g transform="translate(0 {GAP - 6})">'
    for y, label in chart.grid:
        yield f'<path class="grid" d="M{chart.left} {y}H{chart.right}"/>'
        yield f'<text x="{chart.left - 6}" y="{y}" dy="4" text-anchor="end">{label}</text>'
    for x, label, anchor in chart.ticks:
        yield f'<text x="{x}" y="{chart.height - 18}" text-anchor="{anchor}">{label}</text>'
    middle = (chart.left + chart.right) / 2
    yield f'<text x="{middle:g}" y="{chart.height - 3}" text-anchor="middle">{escape(unit)}</text>'
    for line in chart.lines:
        for points in line.texts:
            yield f'<polyline class="{line.style}" points="{points}"/>'
        for x, y in line.dots:
            yield f'<circle class="{line.style}" cx="{x}" cy="{y}" r="{line.dot}"/>'
    yield "</g>"
