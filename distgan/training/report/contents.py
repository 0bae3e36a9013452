"""What a report says, as plain values: `gather` reads them, `page` shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image

from distgan.training.report.nearest_neighbors import Likeness


@dataclass(frozen=True)
class Missing:
    """Stands for a part that is left out, and says why in a sentence."""

    reason: str


@dataclass(frozen=True)
class Figure:
    caption: str
    image: Image.Image


@dataclass(frozen=True)
class Evaluation:
    """A line of scores.jsonl."""

    images: int
    """Real images that D had seen."""
    values: dict[str, float]
    real_values: dict[str, float]
    """The floor: the same values of real images."""
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
    """All text comes from files and is not yet escaped."""

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
