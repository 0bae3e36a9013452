"""A film of RUN/samples: how the images of the same seeds developed during training.

In: a run directory, which may be a stranger's. Out: a WebP, GIF or MP4; one grid is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, repeat
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from distgan.inference.film import write_film
from distgan.training.report.contents import Grid, Missing, part
from distgan.training.report.grids import grids_of, open_grid, read_grid
from distgan.training.report.write import check_run
from distgan.utils.errors import ConfigError
from distgan.utils.images import right_half
from distgan.utils.log import log
from distgan.utils.progress import track

CAPTION = 28  # pixels below a grid
HELD = 2  # seconds that the last grid is shown


def write_run_film(run_dir: Path, out: Path, per_second: int, caption: bool = True) -> None:
    """Writes a film of the run's grids, in the order of the images seen.

    per_second: grids; the last one is held for two seconds. caption: how many images D had seen, below each grid. A
    grid that cannot be read is left out with a warning. Raises ConfigError: no run, or no grids; ExportError as of
    `write_film`.
    """
    check_run(run_dir)
    found = part(lambda: grids_of(run_dir, lambda grid: grid.kind == "fakes"))
    grids = [] if isinstance(found, Missing) else found["fakes"]
    frames = _frames(grids, per_second, caption)
    first = next(frames, None)
    if first is None:
        reason = found.reason if isinstance(found, Missing) else "none of its grids can be read"
        raise ConfigError(f"{run_dir} has no film: {reason}; a training draws a grid every log.samples_every_steps")
    write_film(out, chain([first], frames), per_second)


def _frames(grids: Sequence[Grid], per_second: int, caption: bool) -> Iterator[Image.Image]:
    frame, size = None, (0, 0)
    for grid in track(grids, len(grids), "film", "grids", enabled=len(grids) > 0):
        image = part(partial(_generated, grid))
        if isinstance(image, Missing):
            log.warning("%s", f"{grid.path} is left out of the film: {image.reason}")
            continue
        size = size if frame else image.size  # that of the first; settings may have changed since
        frame = _framed(image if image.size == size else image.resize(size), grid.images if caption else None)
        yield frame
    if frame is not None:
        yield from repeat(frame, HELD * per_second - 1)


def _framed(image: Image.Image, images: int | None) -> Image.Image:
    """An image of even width and height, as films have it, with a caption below unless `images` is None."""
    height = image.height + (0 if images is None else CAPTION)
    frame = Image.new("RGB", (image.width + image.width % 2, height + height % 2), "white")
    frame.paste(image, (0, 0))
    if images is not None:
        font, place = ImageFont.load_default(CAPTION // 2), (4, image.height + CAPTION // 4)
        ImageDraw.Draw(frame).text(place, f"after {images:,} images", fill="black", font=font)
    return frame


def _generated(grid: Grid) -> Image.Image:
    return right_half(open_grid(read_grid(grid), grid.path.name))
