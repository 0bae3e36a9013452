"""The contents of a report as plain values: collect.py reads them, html.py shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image

from distgan.training.report.nearest_neighbors import Likeness


@dataclass(frozen=True)
class Missing:
    """The reason, in a sentence, why a part is left out."""

    reason: str


@dataclass(frozen=True)
class Figure:
    """An image with its caption."""

    caption: str
    image: Image.Image


@dataclass(frozen=True)
class Evaluation:
    """A line of scores.jsonl."""

    images: int
    """Real images that D had seen."""
    values: dict[str, float]
    real_values: dict[str, float]
    """The same values of other real images, for comparison."""
    protocol: dict[str, str]


@dataclass(frozen=True)
class Event:
    """A line of events.jsonl."""

    images: int
    time: str
    kind: str
    text: str


@dataclass(frozen=True)
class Facts:
    """All parts of a report. Text comes from files and is not escaped yet."""

    name: str
    summary: list[tuple[str, str]]
    """Label and text."""
    metrics: list[dict[str, Any]] | Missing
    """Rows of metrics.jsonl."""
    scores: list[Evaluation] | Missing
    samples: list[Figure | Missing] | Missing
    """The first, the middle and the last grid."""
    generator: Figure | Missing
    likeness: Likeness | Missing
    events: list[Event] | Missing
    settings: str | Missing
    """config.yaml."""
