"""Files of one strict JSON object a line, in the order of "images": metrics.jsonl and scores.jsonl of a run.

Every line is written at once. When a part of a training is done again, the lines after its beginning are dropped first.
"""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any

from distgan.utils.files import atomic_path
from distgan.utils.safe_io import open_regular, parse_json

MAX_LINE = 1 << 20  # bytes of a line, which has about 1,000 of metrics and 3,000 of scores

Row = dict[str, Any]


class JsonLines:
    """One such file; there is none before the first line."""

    def __init__(self, path: Path, start_images: int) -> None:
        """Drops lines after `start_images` (that part is trained again) and half-written ones, then appends."""
        self.path = path
        self._unwritten: list[Row] = []
        self._cut: int | None = start_images  # lines after this are still to be dropped
        self._drop()

    def rewind(self, images: int) -> None:
        """Drops lines after `images`. Raises OSError if that cannot be done; it is done before the next line then."""
        self._cut = images
        self._unwritten = [row for row in self._unwritten if row["images"] <= images]
        self._drop()

    def add(self, row: Row) -> None:
        """row: with "images", never falling. Raises OSError if the line cannot be written, and leaves the file as it
        was; it is written with the next."""
        self._unwritten.append(row)
        self._write()

    def close(self) -> None:
        """Raises OSError if lines are left that cannot be written."""
        self._write()

    def _write(self) -> None:
        self._drop()
        text = _lines(self._unwritten)
        if not text:
            return
        with self.path.open("ab", buffering=0) as file:
            size = file.seek(0, 2)
            try:
                if file.write(text) != len(text):
                    raise OSError("no space left for a whole line")
            except OSError:
                file.truncate(size)
                raise
        self._unwritten = []

    def _drop(self) -> None:
        if self._cut is None:
            return
        text = _lines([row for row in read_metrics(self.path) if row["images"] <= self._cut])
        if self.path.exists() and (self.path.stat().st_size != len(text) or self.path.read_bytes() != text):
            with atomic_path(self.path) as temporary:
                temporary.write_bytes(text)
        self._cut = None


class MetricsFile(JsonLines):
    """RUN/metrics.jsonl."""

    def append(self, images: int, metrics: dict[str, float]) -> None:
        """What is NaN or infinite becomes null, and "nonfinite" says what it was. Raises OSError, as `add`."""
        finite = {key: value if math.isfinite(value) else None for key, value in metrics.items()}
        row: Row = {"images": images, **finite}
        if bad := {key: str(float(metrics[key])) for key, value in finite.items() if value is None}:
            row["nonfinite"] = bad
        self.add(row)


def read_metrics(path: Path) -> list[Row]:
    """The lines of such a file with growing "images"; damaged ones (a killed process, a full disk) are left out."""
    rows: list[Row] = []
    with contextlib.suppress(FileNotFoundError):
        with open_regular(path) as file:
            while line := file.readline(MAX_LINE):
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    row = parse_json(line)
                    if isinstance(row, dict) and (rows[-1]["images"] if rows else 0) <= row["images"] < 2**63:
                        json.dumps(row, allow_nan=False)
                        if all(abs(value) < 2**63 for value in row.values() if isinstance(value, int)):
                            rows.append(row)
    return rows


def _lines(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
