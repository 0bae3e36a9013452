"""The metrics of a run, as many as a page can show: curves that are thinned while they grow, and the newest line.

In: rows of metrics.jsonl, one after the other. Out: points of each metric. Memory is bounded, whatever the file holds.
"""

from __future__ import annotations

import math
from typing import Any

from distgan.training.report.charts import MAX_POINTS, Point, Points, thin
from distgan.training.tracking.backend import COUNTERS
from distgan.training.tracking.curves import number

MAX_METRICS = 200  # a line has about 40
MAX_NAME = 80  # characters of a metric's name
KEPT = 4 * MAX_POINTS  # points of a metric; above twice as many they are thinned to this


class History:
    """The curves of a run so far."""

    def __init__(self) -> None:
        self.lines = 0
        self.images = 0.0
        """Images seen at the newest line."""
        self.last: dict[str, Any] = {}
        """The newest line."""
        self.seconds = 0.0
        """Time of the training steps, without evaluations, checkpoints and interruptions."""
        self.left_out = 0
        """Values of metrics beyond MAX_METRICS, or with longer names."""
        self._points: dict[str, list[Point]] = {}

    @property
    def names(self) -> list[str]:
        """The metrics, in the order in which they came."""
        return list(self._points)

    def add(self, row: dict[str, Any]) -> None:
        """A row of metrics.jsonl."""
        images = number(row["images"])
        speed = number(row.get("speed/images_per_second"))
        if math.isfinite(seconds := number(row.get("seconds"))):
            self.seconds = seconds
        elif speed > 0:  # a run of a version that does not count them
            self.seconds += max(0.0, images - self.images) / speed
        self.lines, self.images, self.last = self.lines + 1, images, row
        for name, value in row.items():
            if name not in COUNTERS and isinstance(value, (int, float, type(None))) and not isinstance(value, bool):
                self._add(name, (images, number(value)))

    def points(self, name: str) -> Points:
        """Images seen and value; NaN where a line has null. Empty for a metric that no line has."""
        return self._points.get(name, ())

    def now(self, name: str) -> float:
        """The value in the newest line, or NaN."""
        return number(self.last.get(name))

    def _add(self, name: str, point: Point) -> None:
        points = self._points.get(name)
        if points is None:
            if len(self._points) == MAX_METRICS or len(name) > MAX_NAME:
                self.left_out += 1
                return
            points = self._points[name] = []
        points.append(point)
        if len(points) > 2 * KEPT:
            points[:] = thin(points, KEPT)
