"""Files with one strict JSON object a line: metrics.jsonl, scores.jsonl and events.jsonl of a run.

Every line is written immediately. When a part of a training is repeated, the lines after its start are dropped first.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from distgan.utils.files import atomic_path
from distgan.utils.safe_io import open_regular, parse_json

MAX_LINE = 1 << 20  # bytes of a line, which has about 1,000 of metrics and 3,000 of scores

Row = dict[str, Any]


class LineFile:
    """A file of JSON lines, made with the first line. A line that cannot be written is written before the next one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._unwritten: list[Row] = []

    def add(self, row: Row) -> None:
        """Appends a row. Raises OSError if the line cannot be written: the file stays unchanged then."""
        self._unwritten.append(row)
        self._write()

    def close(self) -> None:
        """Writes the rows that could not be written before. Raises OSError if that fails again."""
        self._write()

    def _write(self) -> None:
        text = _lines(self._unwritten)
        if not text:
            return
        with self.path.open("a+b", buffering=0) as file:
            size = file.seek(0, 2)
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":  # half a line of a killed process
                text = b"\n" + text
            try:
                if file.write(text) != len(text):
                    raise OSError("no space left for a complete line")
            except OSError:
                file.truncate(size)
                raise
        self._unwritten = []


class JsonLines(LineFile):
    """Lines in the order of "images"; those of a part that is trained again are dropped."""

    def __init__(self, path: Path, start_images: int) -> None:
        """Opens for appending, and drops lines after `start_images` (that part is trained again) and damaged ones."""
        super().__init__(path)
        self._cut: int | None = start_images  # lines after this are not dropped yet; None: all are
        self._drop()

    def rewind(self, images: int) -> None:
        """Drops lines after `images`. Raises OSError if that fails; it is tried again before the next line."""
        self._cut = images
        self._unwritten = [row for row in self._unwritten if row["images"] <= images]
        self._drop()

    def _write(self) -> None:
        self._drop()
        super()._write()

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
        """Appends metrics; NaN and infinity become null, and "nonfinite" names them. Raises OSError like `add`."""
        finite = {key: value if math.isfinite(value) else None for key, value in metrics.items()}
        row: Row = {"images": images, **finite}
        if bad := {key: str(float(metrics[key])) for key, value in finite.items() if value is None}:
            row["nonfinite"] = bad
        self.add(row)


def read_metrics(path: Path) -> list[Row]:
    """The rows of a file whose "images" never fall; [] without a file. Damaged lines are left out."""
    rows: list[Row] = []
    with contextlib.suppress(FileNotFoundError):
        with open_regular(path) as file:
            for row in parse_rows(iter(partial(file.readline, MAX_LINE), b"")):
                if (rows[-1]["images"] if rows else 0) <= row["images"]:
                    rows.append(row)
    return rows


def parse_rows(lines: Iterable[bytes]) -> Iterator[Row]:
    """Yields the strict JSON objects with a number "images" below 2**63 and no larger integer.

    Other lines are left out: a killed process or a full disk leaves half of one.
    """
    for line in lines:
        try:
            row = parse_json(line)
            json.dumps(row, allow_nan=False)  # raises ValueError for NaN and infinity
        except ValueError:
            continue
        if isinstance(row, dict) and is_number(row.get("images")) and all(map(_fits, row.values())):
            yield row


def is_number(value: Any) -> bool:
    """Whether a value out of a file is a number between -2**63 and 2**63; true and false are none."""
    return type(value) in (int, float) and abs(value) < 2**63


def _fits(value: Any) -> bool:
    return not isinstance(value, int) or abs(value) < 2**63


def _lines(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
