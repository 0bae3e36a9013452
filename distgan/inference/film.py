"""Films: a walk through the latent space from seed to seed and back, as WebP, GIF or MP4 (extra `film`).

Frames are made, enlarged and encoded one batch at a time, so that a long film takes no more memory than a short one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from distgan.inference.generator import Generator
from distgan.inference.generator_file import writing
from distgan.inference.labels import Classes
from distgan.inference.latents import slerp_at
from distgan.networks.classes import as_weights
from distgan.utils.animation import write_gif, write_webp
from distgan.utils.background import short
from distgan.utils.errors import ExportError
from distgan.utils.files import atomic_path
from distgan.utils.images import enlarged, to_image

MAX_PER_SECOND = {".webp": 90, ".gif": 50, ".mp4": 240}
SUFFIXES = tuple(MAX_PER_SECOND)
VISIBLE = 256  # pixels a side that small images are enlarged to, by a whole factor
BATCH = 16  # frames at a time
MP4 = {"quality": 8, "macro_block_size": 2, "output_params": ["-f", "mp4"]}


def walk(
    generator: Generator,
    seeds: Sequence[int],
    frames: int,
    classes: Classes = None,
    truncation: float | None = None,
    move: Mapping[int, float] | None = None,
) -> Iterator[Image.Image]:
    """Yields `frames` images of a closed way: from each seed to the next, along arcs, and from the last to the first.

    seeds: at least 2. classes: of the seeds; a conditional generator mixes neighbouring classes in between.
    truncation, move: as of `Generator.latents`. Raises ExportError for a wrong seed, class, truncation or number.
    """
    if len(seeds) < 2 or frames < len(seeds):
        raise ExportError(f"a walk needs at least 2 seeds and a frame for each; given: {len(seeds)}, frames: {frames}")
    latents, labels = generator.latents(seeds, truncation, move), generator.labels(seeds, classes)
    weights = None if labels is None else as_weights(labels, len(generator.class_names), torch.float32)
    for start in range(0, frames, BATCH):
        places = torch.arange(start, min(start + BATCH, frames), dtype=torch.float64) * len(seeds) / frames
        before, share = places.floor().long(), places % 1
        after = (before + 1) % len(seeds)
        ways = torch.stack([slerp_at(latents[a], latents[b], t) for a, b, t in zip(before, after, share, strict=True)])
        mixed = None if weights is None else torch.lerp(weights[before], weights[after], share.float()[:, None])
        for pixels in generator.pixels(ways, mixed, BATCH):
            yield to_image(enlarged(pixels, VISIBLE))


def write_film(path: Path, images: Iterator[Image.Image], per_second: int) -> None:
    """Writes a film that starts over at its end, atomically. images: of one size; each is encoded before the next.

    Raises ExportError: another suffix, the extra is missing, it cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise ExportError(f"{path} must end in {', '.join(SUFFIXES)}; nearest: {path.with_suffix('.webp')}")
    if per_second > (most := MAX_PER_SECOND[path.suffix]):
        raise ExportError(f"{path}: browsers show up to {most} frames per second of {path.suffix}, not {per_second}")
    write_mp4 = _mp4_writer() if path.suffix == ".mp4" else None
    first = next(images).convert("RGB")
    frames = chain([first], (image.convert("RGB") for image in images))
    with writing(path), atomic_path(path) as temporary:
        if write_mp4 is not None:
            _send_all(write_mp4(str(temporary), first.size, fps=per_second, **MP4), frames)
            return
        write = write_webp if path.suffix == ".webp" else write_gif
        with temporary.open("wb") as file:
            write(file, frames, first.size, per_second)


def _mp4_writer() -> Any:
    try:
        from imageio_ffmpeg import write_frames
    except ImportError as error:
        raise ExportError(
            f'a film NAME.mp4 needs the extra film ({short(error)}): pip install "distgan[film]"'
        ) from None
    return write_frames


def _send_all(film: Any, frames: Iterable[Image.Image]) -> None:
    try:
        with closing(film):
            film.send(None)
            for frame in frames:
                film.send(np.ascontiguousarray(frame))
    except RuntimeError as error:  # no program, or one that fails
        raise ExportError(f"ffmpeg cannot write the film: {short(error)}") from None
