"""Samples images and writes them as a grid, a directory of PNGs or one .npz file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from distgan.inference.generator import Generator
from distgan.inference.generator_file import writing
from distgan.inference.labels import Class, Classes
from distgan.utils.files import atomic_path
from distgan.utils.images import class_columns, save_png, to_grid, to_image
from distgan.utils.progress import track

LAST, BEST = "generator.safetensors", "best.safetensors"  # of RUN


Names = Sequence[Class] | Mapping[Class, float] | None
"""Classes of which seed s takes number s modulo their number; or a mixture of classes."""


def draw(
    generator: Generator,
    seeds: Sequence[int],
    names: Names,
    truncation: float | None,
    batch_size: int,
    move: Mapping[int, float] | None = None,
) -> Iterator[tuple[Sequence[int], Tensor]]:
    """Yields batches: the seeds, and their images, uint8 [n, channels, H, W]."""
    parts = [seeds[start : start + batch_size] for start in range(0, len(seeds), batch_size)]
    for part in track(parts, len(seeds), "sample", "images", weigh=len):
        yield part, generator.sample(part, classes_of(part, names), truncation, batch_size, move)


def classes_of(seeds: Sequence[int], names: Names) -> Classes:
    """The class of each seed: names[seed % len(names)], which does not depend on the order of the seeds; a mixture."""
    return names if names is None or isinstance(names, Mapping) else [names[seed % len(names)] for seed in seeds]


def write_grid(
    path: Path,
    generator: Generator,
    seeds: Sequence[int],
    names: Names,
    columns: int | None,
    batches: Iterator[tuple[Sequence[int], Tensor]],
) -> list[str]:
    """Writes one PNG. Returns the class of each column, or [] where a column has several. Raises ExportError.

    columns: None: about square, where possible with one class in each.
    """
    labels = None if isinstance(names, Mapping) else generator.labels(seeds, classes_of(seeds, names))
    if columns is None and labels is not None:
        columns = class_columns(len(names or generator.class_names), len(seeds))
    images = torch.cat([images for _, images in batches])
    with writing(path):
        save_png(to_grid(images, columns), path)
    if labels is None or columns is None or not all(row.equal(labels[: len(row)]) for row in labels.split(columns)):
        return []
    return [generator.class_names[label] for label in labels[:columns].tolist()]


def write_directory(directory: Path, batches: Iterator[tuple[Sequence[int], Tensor]]) -> None:
    """Writes DIRECTORY/seed-000000063.png and so on, each atomically; replaces files of the same names."""
    for seeds, images in batches:
        for seed, image in zip(seeds, images, strict=True):
            path = directory / f"seed-{seed:09d}.png"
            with writing(path):
                save_png(to_image(image), path)


def write_npz(
    path: Path,
    generator: Generator,
    seeds: Sequence[int],
    names: Names,
    batches: Iterator[tuple[Sequence[int], Tensor]],
) -> None:
    """Writes images uint8 [N, H, W, channels], seeds int64 [N] and labels int64 [N] (-1: unconditional, or a mixture).

    The same content gives the same bytes. Raises ExportError.
    """
    labels = generator.labels(seeds, classes_of(seeds, names))
    images = np.empty((len(seeds), generator.size, generator.size, generator.channels), dtype=np.uint8)
    start = 0
    for part, batch in batches:
        images[start : start + len(part)] = batch.permute(0, 2, 3, 1).numpy()
        start += len(part)
    arrays = {
        "images": images,
        "seeds": np.array(seeds, dtype=np.int64),
        "labels": np.full(len(seeds), -1, dtype=np.int64)
        if labels is None or labels.is_floating_point()
        else labels.numpy(),
    }
    with writing(path), atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
