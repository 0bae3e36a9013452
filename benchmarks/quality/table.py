"""The table: a line for each recipe and time, with the mean and the range over the seeds, by every judge."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.common.markdown import spread
from benchmarks.quality.rows import Key, Row, files
from distgan.metrics.protocol import Protocol
from distgan.metrics.registry import SHAPES, full_name

NAME = "training"  # of the table's place in a document
SHOWN = ("fd", "recall", "coverage")
IF_KNOWN = "class_accuracy"  # of judges that tell classes
BUDGETS = {
    "seconds": "a row's seconds are the wall clock's, of training only",
    "images": "a row has trained as many images as its recipe, training alone, sees in its seconds",
}

Rows = Mapping[Key, Row]
Line = tuple[str, int]
"""Recipe and seconds."""


@dataclass(frozen=True)
class Asked:
    """What is in the table, also if it is not measured."""

    recipes: Sequence[str]
    seconds: Sequence[int]
    judges: Sequence[str]

    def lines(self, found: Iterable[Key]) -> list[Line]:
        """Those asked for and those found, in the order of the table."""
        order = list(files())
        asked = {(recipe, seconds) for recipe in self.recipes for seconds in self.seconds}
        known = {(key.recipe, key.seconds) for key in found}
        return sorted(asked | known, key=lambda line: (order.index(line[0]), line[1]))

    def all_judges(self, rows: Rows) -> list[str]:
        """Those asked for, then those found."""
        return list(dict.fromkeys((*self.judges, *(name for row in rows.values() for name in row.scores))))


def columns(judges: Sequence[str], rows: Rows) -> list[tuple[str, str]]:
    """Judge and name of each score."""
    found: list[tuple[str, str]] = []
    for judge in judges:
        scores = [row.scores[judge] for row in rows.values() if judge in row.scores]
        names = [f"shapes_{name}" for name in SHAPES]
        if judge != "none":
            names = [full_name(name, judge) for name in SHOWN]
            known = full_name(IF_KNOWN, judge)
            names += [known] if any(known in each.values for each in scores) else []
        found += [(judge, name) for name in names]
    return found


def table(rows: Rows, failed: Mapping[Key, int], asked: Asked) -> str:
    """Markdown. failed: exit codes."""
    shown = columns(asked.all_judges(rows), rows)
    lines = [["recipe", "n", "seconds", "images", "images/s", *(name for _, name in shown)]]
    lines.append(["---"] * len(lines[0]))
    for recipe, seconds in asked.lines(rows):
        of_line = [row for key, row in rows.items() if key[:2] == (recipe, seconds)]
        codes = {code for key, code in failed.items() if key[:2] == (recipe, seconds)}
        lines.append([recipe, *_cells(seconds, of_line, codes, shown)])
    if floor := _floor(rows, shown):
        lines.append(["other real images", "", "", "", "", *floor])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cells(seconds: int, rows: Sequence[Row], codes: Collection[int], shown: Sequence[tuple[str, str]]) -> list[str]:
    """All but the recipe."""
    why = "".join(f"failed (exit {code})" for code in sorted(codes)[:1])
    if not rows:
        return ["0", str(seconds), *[why or "not measured"] * (2 + len(shown))]
    images = [row.images for row in rows]
    n = f"{len(rows)}; another {why}" if why else f"{len(rows)}"
    speed = spread([count / seconds for count in images])
    return [n, str(seconds), spread(images, ",.0f"), speed, *(_cell(rows, *column) for column in shown)]


def _cell(rows: Sequence[Row], judge: str, name: str) -> str:
    """Over the rows that this judge has scored; n where not all are."""
    scores = [row.scores[judge] for row in rows if judge in row.scores]
    if not scores:
        return "not measured"
    values = [each.values[name] for each in scores if name in each.values]
    if not values:
        return "-"
    return spread(values) if len(values) == len(rows) else f"{spread(values)}, n = {len(values)}"


def _floor(rows: Rows, shown: Sequence[tuple[str, str]]) -> list[str]:
    """The scores of other real images; empty if there are none."""
    real = {judge: scores.real_values for row in rows.values() for judge, scores in row.scores.items()}
    cells = [f"{real[judge][name]:.4g}" if name in real.get(judge, {}) else "-" for judge, name in shown]
    return cells if any(real.values()) else []


def facts(rows: Rows, settings: Mapping[str, Any], command: str, speeds: str = "") -> str:
    """How the rows were made. settings: as in OUT/settings.json. speeds: how those were measured, if they were."""
    days = sorted(row.date for row in rows.values())
    seeds = sorted({key.seed for key in rows})
    judges = {name: scores.protocol for row in rows.values() for name, scores in row.scores.items()}
    several = ", mean (lowest ... highest) where n is above 1" if len(seeds) > 1 else ""
    return (
        f"`{command}`; {settings['hardware']}; torch {settings['torch']}, Python {settings['python']}; {period(days)}; "
        f"n: seeds ({', '.join(map(str, seeds))}){several}; {speeds or BUDGETS[settings['budget']]}; {judged(judges)}."
    )


def period(days: Sequence[datetime.date]) -> str:
    """2026-01-01 to 2026-01-03. days: ascending."""
    return " to ".join(dict.fromkeys((str(days[0]), str(days[-1]))))


def judged(judges: Mapping[str, Protocol]) -> str:
    """By whom, with how many images."""
    some = next(iter(judges.values()))
    reference = next((each.reference_count for each in judges.values() if each.reference_count), None)
    against = f" against {reference:,}" if reference else ""
    return f"{' and '.join(judges)}, {some.count:,} images{against}, data {some.reference_digest[:12]}"


def page(
    rows: Rows, failed: Mapping[Key, int], asked: Asked, settings: Mapping[str, Any], command: str, speeds: str = ""
) -> str:
    """The table and its facts."""
    text = table(rows, failed, asked)
    return f"{text}\n\n{facts(rows, settings, command, speeds)}" if rows else text
