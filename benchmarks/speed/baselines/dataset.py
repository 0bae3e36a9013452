"""The images of all contenders: the embedded data set, made once per machine."""

from __future__ import annotations

import tempfile
from pathlib import Path

from distgan.data.prepare import Request, prepare
from distgan.data.sources.shapes import Shapes

IMAGES = 20_000


def shapes(layout: str = "pictures", data: str = "") -> Path:
    """A directory of shards. data: where it is, or else a place of the machine's."""
    out = Path(data) if data else Path(tempfile.gettempdir()) / f"distgan-benchmark-shapes-{layout}"
    prepare(Request(out, Shapes(IMAGES), layout=layout), progress=False)  # type: ignore[arg-type]
    return out
