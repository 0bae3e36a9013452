"""Several runs side by side: each metric in one chart, their scores, their last grids, and the settings that differ.

Scores by different protocols cannot be compared: runs with the same protocol share charts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from distgan.config.keys import flatten, show_value
from distgan.training.report.charts import STYLES, Curve
from distgan.training.report.contents import Evaluation, Facts, Grid, Missing
from distgan.training.report.grids import caption_of
from distgan.training.report.history import History
from distgan.training.report.panels import HEALTH, SECTIONS, NamedHistory, sections_of_all
from distgan.training.report.parts import (
    MAX_VALUES,
    best_text,
    comparable_with_last,
    score_chart,
    score_points,
    section_id,
)
from distgan.training.report.state import duration
from distgan.training.report.templates import Part, fill_macro
from distgan.utils.safe_io import printable

MAX_RUNS = STYLES
MAX_SETTINGS = 200  # rows of the table
OWN = ("run.name", "run.dir")  # settings that differ in any case
PICTURE = "fakes"  # the kind of grid that is shown


class NamedRun(NamedTuple):
    """A run under the name that it has on the page."""

    name: str
    facts: Facts


class Scored(NamedTuple):
    """A run with its evaluations by its last protocol."""

    place: int
    """Its place among the runs, which decides its colour."""
    name: str
    rows: list[Evaluation]


SrcOf = Callable[[int, Grid], str]


def names_of(run_dirs: Sequence[Path]) -> list[str]:
    """A name for each directory: its last part, with as many parts before it as it takes to tell them apart."""
    parts = [path.resolve().parts for path in run_dirs]
    for length in range(1, max(map(len, parts)) + 1):
        names = [os.path.join(*each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in run_dirs]


def comparison_parts(runs: Sequence[NamedRun], src_of: SrcOf, live: bool) -> list[Part]:
    """The sections of the page. src_of: where the image of a run's grid is."""
    histories = [
        NamedHistory(run.name, run.facts.metrics if isinstance(run.facts.metrics, History) else History())
        for run in runs
    ]
    charts = {section.title: fill_macro("charts", section.charts) for section in sections_of_all(histories)}
    first = charts.get(HEALTH) or fill_macro("missing_part", "none of the runs has a metrics.jsonl with lines", live)
    return [
        Part("runs", "Runs", _runs_part(runs)),
        Part("samples", "The newest samples", _samples_part(runs, src_of, live)),
        Part(section_id(HEALTH), HEALTH, first),
        Part("quality", "Quality", _quality_part(runs, live)),
        *(Part(section_id(title), title, charts.get(title, "")) for title in SECTIONS[1:]),
        Part("settings", "Settings that differ", _settings_part(runs)),
    ]


def _runs_part(runs: Sequence[NamedRun]) -> str:
    head = ["run", "state", "images seen", "images per second", "time of the steps", "best score", "last score"]
    return fill_macro("grid_table", "runs", head, [_run_row(run) for run in runs])


def _run_row(run: NamedRun) -> list[str]:
    facts, state = run.facts, run.facts.state
    last = ""
    if not isinstance(facts.scores, Missing) and facts.best in facts.scores[-1].values:
        last = f"{facts.scores[-1].values[facts.best]:.4g}"
    return [
        run.name,
        state.word,
        f"{state.images:,}" + (f" of {state.budget:,}" if state.budget else ""),
        "" if state.rate is None else f"{state.rate:,.1f}",
        duration(facts.metrics.seconds) if isinstance(facts.metrics, History) else "",
        f"{facts.best} {text}" if (text := best_text(facts)) else "",
        last,
    ]


def _quality_part(runs: Sequence[NamedRun], live: bool) -> str:
    groups = _by_protocol(runs)
    if not groups:
        return fill_macro("missing_part", "none of the runs has scores", live)
    html = ""
    if len(groups) > 1:
        html += fill_macro("paragraph", _why_apart(groups))
    for group in groups:
        names = list(dict.fromkeys(name for run in group for row in run.rows for name in row.values))[:MAX_VALUES]
        if len(groups) > 1:
            html += fill_macro("subheading", ", ".join(run.name for run in group))
        charts = [
            score_chart(
                name,
                [Curve(run.name, score_points(name, run.rows), style=run.place) for run in group],
                [run.rows[-1] for run in group],
            )
            for name in names
        ]
        html += fill_macro("charts", charts)
    return html


def _by_protocol(runs: Sequence[NamedRun]) -> list[list[Scored]]:
    """The runs with scores, those with the same protocol together."""
    groups: list[list[Scored]] = []
    for place, run in enumerate(runs):
        if isinstance(run.facts.scores, Missing):
            continue
        last = run.facts.scores[-1]
        scored = Scored(place, run.name, comparable_with_last(run.facts.scores))
        same = next((group for group in groups if group[0].rows[-1].protocol == last.protocol), None)
        if same is None:
            groups.append([scored])
        else:
            same.append(scored)
    return groups


def _why_apart(groups: list[list[Scored]]) -> str:
    protocols = [group[0].rows[-1].protocol for group in groups]
    keys = dict.fromkeys(key for protocol in protocols for key in protocol)
    differ = [key for key in keys if len({protocol.get(key) for protocol in protocols}) > 1]
    return (
        f"These runs were scored by {len(groups)} protocols that differ in {', '.join(differ)}. Their scores cannot be "
        "compared, so each protocol has charts of its own."
    )


def _samples_part(runs: Sequence[NamedRun], src_of: SrcOf, live: bool) -> str:
    figures = []
    for place, run in enumerate(runs):
        grids = {} if isinstance(run.facts.grids, Missing) else run.facts.grids
        newest = grids[PICTURE][-1] if PICTURE in grids else None
        caption = caption_of(newest) if newest else "no samples yet" if live else "no samples"
        figures.append((run.name, caption, src_of(place, newest) if newest else ""))
    return fill_macro("side_by_side", figures)


def _settings_part(runs: Sequence[NamedRun]) -> str:
    settings = [_shown(run.facts.tree) for run in runs]
    keys = [key for key in dict.fromkeys(key for flat in settings for key in flat) if key not in OWN]
    rows = [[key, *(flat.get(key, "") for flat in settings)] for key in keys]
    rows = [row for row in rows if len(set(row[1:])) > 1][:MAX_SETTINGS]
    if not rows:
        return fill_macro("paragraph", "None.")
    return fill_macro("grid_table", "settings that differ", ["setting", *(run.name for run in runs)], rows)


def _shown(tree: Mapping[str, Any]) -> dict[str, str]:
    """The settings by dotted key, as they are shown."""
    return {printable(key, 80): printable(show_value(value), 200) for key, value in flatten(dict(tree)).items()}
