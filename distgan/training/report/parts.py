"""The parts of a run's page: facts in, HTML of each section out; the same for the page on a disk and for the live one.

parts.html.j2 has the words; charts and rows are made here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from distgan.metrics.registry import Direction
from distgan.training.report.charts import Chart, Curve, Point
from distgan.training.report.contents import Evaluation, Facts, Grid, Missing
from distgan.training.report.history import History
from distgan.training.report.panels import HEALTH, SECTIONS, floor, metric_chart, sections_of
from distgan.training.report.state import duration
from distgan.training.report.templates import Part, fill_macro

MAX_EVALUATIONS = 20  # rows of the table; of more, every n-th and the last
MAX_VALUES = 30  # columns of the table of scores
KINDS = {"fakes": "Samples over time", "interpolation": "Interpolation"}


class Quality(NamedTuple):
    """The evaluations by the last protocol."""

    charts: list[Chart]
    names: list[str]
    """Names of the values, the table's columns."""
    rows: list[list[str]]
    """Cells: images seen, then the values."""
    protocol: dict[str, str]
    others: int
    """Evaluations by another protocol, which cannot be compared."""


class Frame(NamedTuple):
    """An image of a page."""

    key: str
    """The same for the same image."""
    caption: str
    src: str
    """A data URI, or a path on the page's own server."""


Frames = Sequence[Frame | Missing]
FramesOf = Callable[[list[Grid], Mapping[int, str]], Frames]
"""Grids of one kind, and the scores by images seen, to what the page shows."""


def run_parts(facts: Facts, frames_of: FramesOf, live: bool) -> list[Part]:
    """What every page of a run shows, in its order.

    frames_of: makes the images of grids of one kind; live: for the page that changes while training runs.
    """
    return [
        *([Part("state", "", state_part(facts))] if live else []),
        *_frame_parts(facts, frames_of, live),
        *_chart_parts(facts.metrics, [HEALTH], live),
        Part("quality", "Quality", _quality_part(facts.scores, live)),
        *_chart_parts(facts.metrics, SECTIONS[1:], live),
        *([Part("summary", "Summary", summary_part(facts))] if live else []),
        Part("events", "Events", _or_missing(facts.events, "events", live)),
        Part("settings", "Settings", _or_missing(facts.settings, "settings", live)),
    ]


def state_part(facts: Facts) -> str:
    """How far the run is."""
    state = facts.state
    share = f"{100 * min(1.0, state.images / state.budget):.0f} % " if state.budget else ""
    return fill_macro("state", state, _tiles(facts), f"{share}{state.word} · {facts.name}")


def summary_part(facts: Facts) -> str:
    """The table of the known facts."""
    return fill_macro("pairs", "summary", facts.summary)


def missing_part(missing: Missing, live: bool) -> str:
    """The sentence in place of a part that cannot be shown."""
    return fill_macro("missing_part", missing.reason, live)


def quality_of(evaluations: list[Evaluation]) -> Quality:
    """Charts and table of the evaluations by the last protocol."""
    last, comparable = evaluations[-1], comparable_with_last(evaluations)
    names = list(dict.fromkeys(name for row in comparable for name in row.values))[:MAX_VALUES]
    step = math.ceil(len(comparable) / MAX_EVALUATIONS)
    rows = [[f"{row.images:,}", *_cells(row.values, names)] for row in comparable[::-1][::step][::-1]]
    if last.real_values:
        rows.append(["real images", *_cells(last.real_values, names)])
    charts = [score_chart(name, [Curve("generated", score_points(name, comparable))], [last]) for name in names]
    return Quality(charts, names, rows, last.protocol, len(evaluations) - len(comparable))


def comparable_with_last(evaluations: list[Evaluation]) -> list[Evaluation]:
    """The evaluations by the protocol of the last one."""
    return [row for row in evaluations if row.protocol == evaluations[-1].protocol]


def score_points(name: str, evaluations: list[Evaluation]) -> list[Point]:
    """Images seen and value of a score; NaN for an evaluation without it."""
    return [(row.images, row.values.get(name, math.nan)) for row in evaluations]


def score_chart(name: str, curves: list[Curve], last: list[Evaluation]) -> Chart:
    """A score with the best value of each curve marked, and as a dashed line what other real images score.

    last: the last evaluation of each run, whose real images are compared.
    """
    better = direction_of(name, last)
    marked = [
        Curve(curve.label, curve.points, style=curve.style, best=best_of(better, list(curve.points)))
        for curve in curves
    ]
    longest = [point for curve in curves for point in curve.points]
    reals = dict.fromkeys(row.real_values[name] for row in last if name in row.real_values)
    limits = [Curve("real images", floor(longest, value), dashed=True) for value in list(reals)[:1]]
    return metric_chart(f"{name} ({better} is better)" if better else name, [*marked, *limits])


def direction_of(name: str, evaluations: list[Evaluation]) -> Direction | None:
    """Which values of a score are better; None if none of the evaluations knows."""
    return next((row.better[name] for row in evaluations if name in row.better), None)


def best_of(better: Direction | None, points: list[Point]) -> Point | None:
    """The best point of a score; None if it is not known which is better, or if there is none."""
    finite = [point for point in points if math.isfinite(point[1])]
    if better is None or not finite:
        return None
    return (min if better == "lower" else max)(finite, key=lambda point: point[1])


def best_text(facts: Facts) -> str:
    """The best value of the score that decides, and when it was reached; empty without one."""
    name, scores = facts.best, facts.scores
    if name is None or isinstance(scores, Missing):
        return ""
    best = best_of(direction_of(name, scores[-1:]), score_points(name, comparable_with_last(scores)))
    return f"{best[1]:.4g} after {best[0]:,.0f} images" if best else ""


def _tiles(facts: Facts) -> list[tuple[str, str]]:
    state = facts.state
    tiles = [("images seen", f"{state.images:,}" + (f" of {state.budget:,}" if state.budget else ""))]
    if state.rate is not None:
        tiles.append(("images per second", f"{state.rate:,.0f}" if state.rate >= 10 else f"{state.rate:.2g}"))
    if state.seconds_left is not None:
        tiles.append(("time left, without evaluations", duration(state.seconds_left)))
    if isinstance(facts.metrics, History):
        tiles.append(("time of the steps", duration(facts.metrics.seconds)))
    if best := best_text(facts):
        tiles.append((f"best {facts.best}", best))
    if not isinstance(facts.events, Missing) and facts.events.newest:
        newest = facts.events.newest[0]
        tiles.append(("last event", f"{newest.kind}, at {newest.images:,} images"))
    return tiles


def _chart_parts(metrics: History | Missing, titles: Sequence[str], live: bool) -> list[Part]:
    """Sections of charts; one without charts is not shown. Without metrics the first says why."""
    if isinstance(metrics, Missing):
        return [
            Part(section_id(title), title, missing_part(metrics, live) if title == HEALTH else "") for title in titles
        ]
    charts = {section.title: section.charts for section in sections_of(metrics)}
    return [
        Part(section_id(title), title, fill_macro("charts", charts[title]) if title in charts else "")
        for title in titles
    ]


def _quality_part(scores: list[Evaluation] | Missing, live: bool) -> str:
    return missing_part(scores, live) if isinstance(scores, Missing) else fill_macro("quality", quality_of(scores))


def _frame_parts(facts: Facts, frames_of: FramesOf, live: bool) -> list[Part]:
    grids, scored = facts.grids, _scored(facts)
    if isinstance(grids, Missing):
        return [
            Part(kind, title, missing_part(grids, live) if kind == "fakes" else "") for kind, title in KINDS.items()
        ]
    return [
        Part(kind, title, fill_macro("frames", frames_of(grids[kind], scored), live, live) if kind in grids else "")
        for kind, title in KINDS.items()
    ]


def _scored(facts: Facts) -> dict[int, str]:
    """Name and value of the score that decides, by images seen."""
    rows = [] if isinstance(facts.scores, Missing) or facts.best is None else facts.scores
    return {row.images: f"{facts.best} {row.values[facts.best]:.4g}" for row in rows if facts.best in row.values}


def _or_missing(content: object, macro: str, live: bool) -> str:
    return missing_part(content, live) if isinstance(content, Missing) else fill_macro(macro, content)


def _cells(values: dict[str, float], names: list[str]) -> list[str]:
    return [f"{values[name]:.4g}" if name in values else "" for name in names]


def section_id(title: str) -> str:
    """What a link to a section of charts is called."""
    return title.lower().replace(" ", "-")
