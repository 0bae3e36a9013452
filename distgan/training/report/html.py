"""Facts in, one HTML page out: images within it, no scripts, no network, light and dark. All text is escaped here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, TypeVar

from PIL import Image
from torch import Tensor

from distgan.metrics.registry import BETTER
from distgan.training.report.charts import Curve, line_chart
from distgan.training.report.contents import Evaluation, Event, Facts, Figure, Missing
from distgan.training.report.data_uri import data_uri, thumbnail
from distgan.training.report.nearest_neighbors import COPY, Likeness
from distgan.training.tracking.curves import PANELS, number, readable_top
from distgan.utils.version import __version__

MAX_EVALUATIONS = 20  # lines of the table; of more, every n-th and the last
MAX_EVENTS = 200  # the newest
MAX_VALUES = 30  # columns of the table of scores
STYLE = """
:root { color-scheme: light dark; --soft: #8884; --mark: #e8780c; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--soft); }
table { border-collapse: collapse; } .wide { overflow-x: auto; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--soft); vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; image-rendering: pixelated; }
.near img { width: 64px; height: 64px; display: block; margin: auto; }
.near td { text-align: center; font-size: .8rem; } .copy { color: var(--mark); font-weight: bold; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; }
.charts figure { flex: 1 1 26rem; max-width: 33rem; }
figcaption { font-size: .9rem; } svg { width: 100%; } svg text { fill: currentColor; }
pre { overflow-x: auto; padding: .8rem; border: 1px solid var(--soft); font-size: .85rem; } .left { opacity: .75; }
"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # a browser fetches nothing, runs nothing

T = TypeVar("T")


def render(facts: Facts) -> str:
    """The page. The same facts give the same text."""
    sections = (
        ("Summary", facts.summary, _summary),
        ("Losses and accuracies", facts.metrics, _curves),
        ("Quality", facts.scores, _quality),
        ("Samples over time", facts.samples, _samples),
        ("The generator", facts.generator, _image),
        ("Nearest real images", facts.likeness, _likeness),
        ("Events", facts.events, _events),
        ("Settings", facts.settings, lambda text: f"<pre>{_escape(text)}</pre>"),
    )
    body = "\n".join(_section(title, part, show) for title, part, show in sections)  # type: ignore[arg-type]
    title = f"{_escape(facts.name)} &middot; distgan"
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n<style>{STYLE}</style>\n</head>\n'
        f"<body>\n<h1>{_escape(facts.name)}</h1>\n{body}\n<footer><p>distgan {__version__}</p></footer>\n"
        "</body>\n</html>\n"
    )


def _section(title: str, part: T | Missing, show: Callable[[T], str]) -> str:
    return f"<section>\n<h2>{title}</h2>\n{_left(part) if isinstance(part, Missing) else show(part)}\n</section>"


def _left(part: Missing) -> str:
    return f'<p class="left">Left out: {_escape(part.reason)}.</p>'


def _escape(text: str) -> str:
    """Text for HTML, without characters that are not to be shown; lines stay lines."""
    return escape("".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text))


def _table(rows: Sequence[Sequence[str]], head: Sequence[str] = (), kind: str = "") -> str:
    """rows: HTML."""
    top = "<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>" if head else ""
    cell_kind = f' class="{kind}"' if kind else ""
    body = "".join("<tr>" + "".join(f"<td{cell_kind}>{cell}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f'<div class="wide"><table>{top}{body}</table></div>'


def _summary(rows: list[tuple[str, str]]) -> str:
    return _table([(_escape(label), _escape(text)) for label, text in rows])


def _curves(rows: list[dict[str, Any]]) -> str:
    charts = []
    for title, curves in PANELS:
        drawn = [
            Curve(label, [(number(r.get("images")), number(r.get(key))) for r in rows]) for key, label, _ in curves
        ]
        values = [y for curve in drawn for _, y in curve.points if math.isfinite(y)]
        top = readable_top(values) if title == "loss" else None
        cut = f" (cut off at {top:.3g})" if top else ""
        charts.append(
            line_chart(title + cut, drawn, (min(values), top) if top else None if title == "loss" else (0, 1))
        )
    return f'<div class="charts">{"".join(charts)}</div>'


def _quality(every: list[Evaluation]) -> str:
    """Of the last protocol: scores by another one are no points of its curve."""
    last = every[-1]
    scores = [row for row in every if row.protocol == last.protocol]
    names = list(dict.fromkeys(name for row in scores for name in row.values))[:MAX_VALUES]
    charts = []
    for name in names:
        curves = [Curve("generated", [(row.images, row.values.get(name, math.nan)) for row in scores])]
        if name in last.real_values:
            ends = [(0, last.real_values[name]), (max(row.images for row in scores), last.real_values[name])]
            curves.append(Curve("real", ends, dashed=True))
        way = f" ({BETTER[name]} is better)" if name in BETTER else ""
        charts.append(line_chart(name + way, curves))
    step = math.ceil(len(scores) / MAX_EVALUATIONS)
    rows = [[f"{row.images:,}", *_cells(row.values, names)] for row in scores[::-1][::step][::-1]]
    if last.real_values:
        rows.append(["real images", *_cells(last.real_values, names)])
    protocol = _table([(_escape(name), _escape(text)) for name, text in last.protocol.items()])
    others = len(every) - len(scores)
    left = f"<p>{others} evaluation(s) by another protocol are left out: they cannot be compared.</p>" if others else ""
    return (
        f'<div class="charts">{"".join(charts)}</div>'
        + _table(rows, ["images seen", *map(_escape, names)], "number")
        + f"{left}<details><summary>Protocol</summary>{protocol}</details>"
    )


def _cells(values: dict[str, float], names: list[str]) -> list[str]:
    return [f"{values[name]:.4g}" if name in values else "" for name in names]


def _samples(images: list[Figure | Missing]) -> str:
    return "\n".join(_left(part) if isinstance(part, Missing) else _image(part) for part in images)


def _image(image: Figure) -> str:
    caption = _escape(image.caption)
    return f'<figure><figcaption>{caption}</figcaption><img alt="{caption}" src="{data_uri(image.image)}"></figure>'


def _likeness(found: Likeness) -> str:
    rows = []
    nearest = found.nearest
    for row, (fake, copied) in enumerate(zip(found.fakes, found.copied, strict=True)):
        cells = [_thumb(fake) + ('<span class="copy">copy?</span>' if copied else "generated")]
        for image, distance, mirrored in zip(
            nearest.images[row], nearest.distance[row].tolist(), nearest.mirrored[row].tolist(), strict=True
        ):
            cells.append(_thumb(image) + f"{distance:.1f}" + (" mirrored" if mirrored else ""))
        rows.append(cells)
    text = (
        f"Each line: a generated image and the nearest of {found.looked_at:,} (of {found.total:,}) real images, "
        "with their distance: the root mean square difference of pixel values, 0 to 255, at full size, mirrored ones "
        f"included. A real image is usually {found.usual:.1f} (median) away from the nearest other one. A generated "
        f"image that is much nearer than that (less than {COPY:g} of it, marked) may be a copy; at distance 0 it is "
        "one. Pixels say nothing of copies that are moved or recoloured."
    )
    return f'<p>{text}</p><div class="near">{_table(rows)}</div>'


def _thumb(image: Tensor) -> str:
    return f'<img alt="" src="{data_uri(thumbnail(Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())))}">'


def _events(events: list[Event]) -> str:
    if not events:
        return "<p>None.</p>"
    rows = [
        (f"{event.images:,}", *map(_escape, (event.time, event.kind, event.text))) for event in events[-MAX_EVENTS:]
    ]
    older = len(events) - len(rows)
    note = f"<p>{older:,} older ones are in events.jsonl.</p>" if older else ""
    return _table(rows, ("images seen", "time", "event", "what")) + note
