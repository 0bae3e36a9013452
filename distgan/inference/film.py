"""Films: a walk through the latent space from seed to seed and back, as WebP, GIF or MP4 (extra `film`).

Frames are made, enlarged and encoded one batch at a time, so that a long film takes no more memory than a short one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from distgan.inference.generator import Classes, Generator
from distgan.inference.generator_file import writing
from distgan.inference.latents import slerp_at
from distgan.networks.classes import as_weights
from distgan.utils.background import short
from distgan.utils.errors import ExportError
from distgan.utils.files import atomic_path
from distgan.utils.images import to_image

SUFFIXES = (".webp", ".gif", ".mp4")
MAX_GIF_FRAMES = 2_000  # Pillow keeps a GIF's frames until its end
VISIBLE = 256  # pixels a side that small images are enlarged to, by a whole factor
BATCH = 16  # frames at a time


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
        raise ExportError(f"a walk needs 2 seeds and a frame for each, not {len(seeds)} seeds and {frames} frames")
    latents, labels = generator.latents(seeds, truncation, move), generator.labels(seeds, classes)
    weights = None if labels is None else as_weights(labels, len(generator.class_names), torch.float32)
    for start in range(0, frames, BATCH):
        places = torch.arange(start, min(start + BATCH, frames), dtype=torch.float64) * len(seeds) / frames
        before, share = places.floor().long(), places % 1
        after = (before + 1) % len(seeds)
        ways = torch.stack([slerp_at(latents[a], latents[b], t) for a, b, t in zip(before, after, share, strict=True)])
        mixed = None if weights is None else torch.lerp(weights[before], weights[after], share.float()[:, None])
        for pixels in generator.pixels(ways, mixed, BATCH):
            yield _enlarged(pixels)


def _enlarged(pixels: Tensor) -> Image.Image:
    factor = max(1, VISIBLE // pixels.shape[-1])
    return to_image(pixels.repeat_interleave(factor, 1).repeat_interleave(factor, 2))


def write_film(path: Path, images: Iterator[Image.Image], frames: int, per_second: int) -> None:
    """Writes a film that starts over at its end, atomically. frames: number of the images.

    Raises ExportError: another suffix, too many frames for a GIF, the extra is missing, it cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise ExportError(f"{path} must end in {', '.join(SUFFIXES)}; nearest: {path.with_suffix('.webp')}")
    if path.suffix == ".gif" and frames > MAX_GIF_FRAMES:
        raise ExportError(
            f"a GIF holds up to {MAX_GIF_FRAMES:,} frames, not {frames:,}; use {path.with_suffix('.webp')}"
        )
    with writing(path), atomic_path(path) as temporary:
        if path.suffix == ".mp4":
            _write_mp4(temporary, images, per_second)
        else:
            _write_pillow(temporary, images, path.suffix[1:].upper(), per_second)


def _write_pillow(path: Path, images: Iterator[Image.Image], form: str, per_second: int) -> None:
    first = next(images).convert("RGB")
    options: dict[str, Any] = {"quality": 90, "method": 3} if form == "WEBP" else {"optimize": False}
    with path.open("wb") as file:
        first.save(
            file, form, save_all=True, append_images=(image.convert("RGB") for image in images),
            duration=math.floor(1000 / per_second), loop=0, **options,
        )  # fmt: skip


def _write_mp4(path: Path, images: Iterator[Image.Image], per_second: int) -> None:
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise ExportError(
            f'a film NAME.mp4 needs the extra film ({short(error)}): pip install "distgan[film]"'
        ) from None
    first = next(images).convert("RGB")
    options = {"fps": per_second, "quality": 8, "macro_block_size": 2, "output_params": ["-f", "mp4"]}
    with closing(imageio_ffmpeg.write_frames(str(path), first.size, **options)) as film:
        film.send(None)
        film.send(np.ascontiguousarray(first))
        for image in images:
            film.send(np.ascontiguousarray(image.convert("RGB")))
