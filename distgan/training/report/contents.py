"""The contents of a report as plain values: collect.py reads them, html.py shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from distgan.metrics.nearest_neighbors import Likeness
from distgan.metrics.registry import Direction
from distgan.training.report.history import History
from distgan.utils.errors import DistganError
from distgan.utils.safe_io import printable

T = TypeVar("T")


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
    better: dict[str, Direction]
    """Which values of a score are better, for those of which it is known."""


@dataclass(frozen=True)
class Event:
    """A line of events.jsonl."""

    images: int
    time: str
    kind: str
    text: str


@dataclass(frozen=True)
class Events:
    """The lines of events.jsonl."""

    newest: list[Event]
    """The newest ones, newest first."""
    total: int


@dataclass(frozen=True)
class Grid:
    """An image in RUN/samples."""

    kind: str
    """fakes or interpolation."""
    images: int
    """Real images that D had seen."""
    path: Path
    changed: int
    """Time of its last change, ns: a training that goes back draws it again."""


@dataclass(frozen=True)
class State:
    """How far a run is."""

    word: str
    """waiting, starting, training, finishing, ended or stopped."""
    text: str
    """A sentence about it."""
    images: int
    budget: int | None
    rate: float | None
    """Images per second, of the newest line."""
    seconds_left: float | None


@dataclass(frozen=True)
class Facts:
    """What the files of a run say. Text comes from files and is not escaped yet."""

    name: str
    summary: list[tuple[str, str]]
    """Label and text."""
    state: State
    metrics: History | Missing
    scores: list[Evaluation] | Missing
    grids: dict[str, list[Grid]] | Missing
    """By kind, in the order of the images seen; each kind has one at least."""
    events: Events | Missing
    settings: str | Missing
    """config.yaml."""
    tree: Mapping[str, Any]
    """The values in it; {} if it cannot be read."""
    best: str | None
    """Name of the score by which the best generator is chosen."""


@dataclass(frozen=True)
class Report:
    """All parts of a report."""

    facts: Facts
    generator: Figure | Missing
    likeness: Likeness | Missing


def part(read: Callable[[], T | Missing]) -> T | Missing:
    """The result of `read`, or the reason for its error."""
    try:
        return read()
    except FileNotFoundError as error:
        return Missing(f"there is no {Path(error.filename).name}")
    except OSError as error:
        return Missing(f"it cannot be read: {error.strerror or error}")
    except (DistganError, ValueError) as error:
        return Missing(printable(str(error), 1000))
