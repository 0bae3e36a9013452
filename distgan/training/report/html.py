"""Facts in, the text of one HTML page out. report.html.j2 has words and style; charts and rows are made here."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from PIL import Image
from torch import Tensor

from distgan.metrics.registry import BETTER
from distgan.training.report.charts import Chart, Curve, line_chart
from distgan.training.report.contents import Evaluation, Facts
from distgan.training.report.data_uri import thumbnail
from distgan.training.report.nearest_neighbors import COPY_SHARE, Likeness
from distgan.training.report.templates import fill_template
from distgan.training.tracking.curves import PANELS, number, readable_top
from distgan.utils.images import to_image
from distgan.utils.version import __version__

MAX_EVALUATIONS = 20  # rows of the table; of more, every n-th and the last
MAX_EVENTS = 200  # the newest
MAX_VALUES = 30  # columns of the table of scores


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


class NeighbourRow(NamedTuple):
    """A generated image, and the real images nearest to it."""

    fake: Image.Image
    copied: bool
    reals: list[tuple[Image.Image, str, bool]]
    """Image, distance, whether it is mirrored."""


def render(facts: Facts) -> str:
    """The page. The same facts give the same text."""
    return fill_template(
        "report.html.j2",
        facts=facts,
        metric_charts=_metric_charts,
        quality_of=_quality_of,
        neighbour_rows=_neighbour_rows,
        copy_share=COPY_SHARE,
        max_events=MAX_EVENTS,
        version=__version__,
    )


def _metric_charts(rows: list[dict[str, Any]]) -> list[Chart]:
    """Losses, D's probabilities and accuracies against images seen; a few huge losses are cut off."""
    charts = []
    for title, panel in PANELS:
        curves = [
            Curve(label, [(number(row.get("images")), number(row.get(key))) for row in rows]) for key, label, _ in panel
        ]
        charts.append(_loss_chart(title, curves) if title == "loss" else line_chart(title, curves, (0, 1)))
    return charts


def _loss_chart(title: str, curves: list[Curve]) -> Chart:
    losses = [y for curve in curves for _, y in curve.points if math.isfinite(y)]
    if top := readable_top(losses):
        return line_chart(f"{title} (cut off at {top:.3g})", curves, (min(losses), top))
    return line_chart(title, curves)


def _quality_of(evaluations: list[Evaluation]) -> Quality:
    """Charts and table of the evaluations by the last protocol."""
    last = evaluations[-1]
    comparable = [row for row in evaluations if row.protocol == last.protocol]
    names = list(dict.fromkeys(name for row in comparable for name in row.values))[:MAX_VALUES]
    step = math.ceil(len(comparable) / MAX_EVALUATIONS)
    rows = [[f"{row.images:,}", *_cells(row.values, names)] for row in comparable[::-1][::step][::-1]]
    if last.real_values:
        rows.append(["real images", *_cells(last.real_values, names)])
    charts = [_quality_chart(name, comparable) for name in names]
    return Quality(charts, names, rows, last.protocol, len(evaluations) - len(comparable))


def _quality_chart(name: str, evaluations: list[Evaluation]) -> Chart:
    """One value against images seen, and as a dashed line the same value of real images."""
    curves = [Curve("generated", [(row.images, row.values.get(name, math.nan)) for row in evaluations])]
    if (real := evaluations[-1].real_values.get(name)) is not None:
        curves.append(Curve("real", [(0, real), (max(row.images for row in evaluations), real)], dashed=True))
    direction = f" ({BETTER[name]} is better)" if name in BETTER else ""
    return line_chart(name + direction, curves)


def _cells(values: dict[str, float], names: list[str]) -> list[str]:
    return [f"{values[name]:.4g}" if name in values else "" for name in names]


def _neighbour_rows(likeness: Likeness) -> list[NeighbourRow]:
    nearest = likeness.nearest
    return [
        NeighbourRow(
            _thumbnail(fake),
            copied,
            [
                (_thumbnail(image), f"{distance:.1f}", mirrored)
                for image, distance, mirrored in zip(images, distances, mirrors, strict=True)
            ],
        )
        for fake, copied, images, distances, mirrors in zip(
            likeness.fakes,
            likeness.copied,
            nearest.images,
            nearest.distance.tolist(),
            nearest.mirrored.tolist(),
            strict=True,
        )
    ]


def _thumbnail(image: Tensor) -> Image.Image:
    """uint8 [channels, H, W] -> a small image."""
    return thumbnail(to_image(image))
