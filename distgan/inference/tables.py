"""Images in rows and columns: seeds by classes, truncations by seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from distgan.inference.generator import Generator
from distgan.inference.labels import Class, Classes
from distgan.utils.errors import ExportError


def by_class(
    generator: Generator,
    seeds: Sequence[int],
    classes: Sequence[Class] | None = None,
    truncation: float | None = None,
    move: Mapping[int, float] | None = None,
) -> Tensor:
    """A row for each seed, a column for each class: uint8 [seeds * classes, channels, size, size], row by row.

    A row has one latent vector. classes: None: all. truncation, move: as of `Generator.latents`. Raises ExportError,
    also for an unconditional generator.
    """
    if not generator.conditional:
        raise ExportError("this generator is unconditional: it has no classes for columns; leave --grid-classes out")
    names = list(generator.class_names if classes is None else classes)
    latents = generator.latents(seeds, truncation, move).repeat_interleave(len(names), dim=0)
    return generator.pixels(latents, generator.labels(list(range(len(latents))), names * len(seeds)))


def by_truncation(
    generator: Generator,
    seeds: Sequence[int],
    truncations: Sequence[float | None],
    classes: Classes = None,
    move: Mapping[int, float] | None = None,
) -> Tensor:
    """A row for each truncation, a column for each seed: uint8 [truncations * seeds, channels, size, size].

    truncations: None: the full distribution. classes: of the seeds. move: as of `Generator.latents`. Raises
    ExportError.
    """
    latents, labels = [generator.latents(seeds, limit, move) for limit in truncations], generator.labels(seeds, classes)
    return generator.pixels(torch.cat(latents), None if labels is None else torch.cat([labels] * len(truncations)))
