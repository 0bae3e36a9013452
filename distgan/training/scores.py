"""`distgan.evaluate`: the scores of whatever generator somebody names, a run among it, as one call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from distgan.config.schema import DataConfig
from distgan.inference.generator import Generator
from distgan.inference.hub.find import repository_of
from distgan.metrics import evaluate as of_generator
from distgan.metrics.protocol import Scores, load_scores
from distgan.training.checkpoint.find import open_generator
from distgan.utils.errors import QualityError
from distgan.utils.paths import user_path


def evaluate(
    generator: Generator | str | Path,
    data: DataConfig | str | Path | None = None,
    *,
    device: str | torch.device | None = None,
    against: Scores | str | Path | None = None,
    truncation: float | None = None,
    progress: bool = True,
    trust: Sequence[str] = (),
    **settings: Any,
) -> Scores:
    """The scores of a generator by the images of the seeds 0, 1, 2, ..., as `distgan evaluate` prints them.

    generator: a Generator, or what `distgan evaluate` takes: a generator file, a run, ... data: the real images,
    a directory or URL of shards; None: the training data, where they are on this machine. device: None: the
    generator's, for a file auto. against: earlier scores to compare with, or their file. truncation, trust: as of
    `Generator.sample` and `load_generator`. settings: keys of the section `evaluate` (extractor, metrics, count, ...).

    Raises CheckpointError, ConfigError, DataError, ExportError, and QualityError where scores cannot be computed or not
    be compared.

    >>> import distgan
    >>> distgan.prepare("shapes", out="data/shapes", count=200, progress=False).count
    200
    >>> generator = distgan.Trainer.from_config(distgan.load_config("quickstart")).generator()
    >>> scores = distgan.evaluate(generator, "data/shapes", extractor="none", count=20, progress=False)
    >>> sorted(scores.values)[:2], scores.images_seen
    (['shapes_balance', 'shapes_classes'], 0)
    """
    of_generator.evaluate_config(settings)  # a mistake is said before a generator is loaded
    before = load_scores(user_path(against)) if isinstance(against, (str, Path)) else against
    with of_generator.process_device(_device(generator, device)) as own:
        loaded, name = _loaded(generator, own, trust)
        reference = of_generator.reference_data(loaded, name, data)
        return of_generator.evaluate(
            loaded, reference, own, against=before, truncation=truncation, progress=progress, **settings
        )


def _loaded(generator: Generator | str | Path, device: torch.device, trust: Sequence[str]) -> tuple[Generator, str]:
    """The generator, and what errors call it."""
    if isinstance(generator, Generator):
        return generator, "the generator"
    loaded, found = open_generator(generator if repository_of(generator) else _local(generator), trust, device)
    return loaded, str(found)


def _device(generator: Generator | str | Path, device: str | torch.device | None) -> str | torch.device:
    if device is not None:
        return device
    return generator.device if isinstance(generator, Generator) else "auto"


def _local(path: str | Path) -> Path:
    try:
        return user_path(path)
    except ValueError as error:
        raise QualityError(f"generator='{path}': {error}") from None
