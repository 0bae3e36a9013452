"""The images in RUN/samples: which there are, their captions, and reading one that may be a stranger's."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from PIL import Image, UnidentifiedImageError

from distgan.training.report.contents import Figure, Grid, Missing, part
from distgan.training.report.own_files import own_file
from distgan.utils.safe_io import printable, read_bytes

GRID = re.compile(r"(fakes|interpolation)-(\d{1,18})\.png\Z")
MAX_GRIDS = 20_000  # of a kind in samples/ that are kept, the newest
MAX_PNG_BYTES, MAX_PIXELS = 32 << 20, 40_000_000  # of a sample grid

T = TypeVar("T")


def grids_of(run_dir: Path, is_shown: Callable[[Grid], bool]) -> dict[str, list[Grid]] | Missing:
    """The images in RUN/samples by kind, in the order of the images seen; links are left out."""
    found: dict[str, list[Grid]] = {}
    for entry in os.scandir(own_file(run_dir, "samples")):
        if (match := GRID.match(entry.name)) and entry.is_file(follow_symlinks=False):
            changed = entry.stat(follow_symlinks=False).st_mtime_ns
            grid = Grid(match[1], int(match[2]), Path(entry.path), changed)
            if is_shown(grid):
                found.setdefault(grid.kind, []).append(grid)
    for grids in found.values():
        grids.sort(key=lambda grid: grid.images)
        del grids[:-MAX_GRIDS]
    return found or Missing("there is no grid in samples/")


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most so many of the items, the first and the last among them; most >= 2."""
    if len(items) <= most:
        return list(items)
    return [items[round(place * (len(items) - 1) / (most - 1))] for place in range(most)]


def caption_of(grid: Grid, scored: str = "") -> str:
    """The text below a grid. scored: the score of the generator at that moment, by its name."""
    what = "real left, generated right" if grid.kind == "fakes" else "generated, from one latent to the next"
    return f"after {grid.images:,} images{f', {scored}' if scored else ''}: {what}"


def figure_of(grid: Grid, scored: str = "") -> Figure | Missing:
    """The image of a grid with its caption, or why it cannot be shown."""
    return part(partial(_figure, grid, scored))


def _figure(grid: Grid, scored: str) -> Figure:
    return Figure(caption_of(grid, scored), open_grid(read_grid(grid), grid.path.name))


def read_grid(grid: Grid) -> bytes:
    """The file of a grid. Raises OSError, ValueError if it is too long, or a link by now."""
    return read_bytes(own_file(grid.path.parent.parent, f"samples/{grid.path.name}"), MAX_PNG_BYTES)


def open_grid(content: bytes, name: str, decode: bool = True) -> Image.Image:
    """A PNG of bounded size as RGB; decode: False looks at its size only. Raises OSError, ValueError."""
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{name} has {image.width}x{image.height} pixels, more than a grid of samples")
            return image.convert("RGB") if decode else image
    except UnidentifiedImageError:  # an OSError; its text has an address in memory
        raise ValueError(f"{name} is not a PNG") from None
    except (OSError, ValueError):
        raise
    except Exception as error:  # a damaged image can raise nearly anything
        raise ValueError(f"{name} is damaged: {printable(str(error))}") from None
