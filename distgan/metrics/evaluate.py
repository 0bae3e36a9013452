"""The scores of a generator as one call: `distgan.evaluate(generator)`.

In: a generator and real images. Out: `Scores`, the same on every process. Processes that torchrun or accelerate started
share the work.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from distgan.config.messages import config_mistakes, first_mistake
from distgan.config.registry import TYPED
from distgan.config.schema import Config, DataConfig, EvaluateConfig
from distgan.data.location import are_there, open_data_set
from distgan.data.reference import fitted
from distgan.data.shards.manifest import MANIFEST
from distgan.distributed.collectives import in_group, joined, rank, world_size
from distgan.inference.find import open_generator
from distgan.inference.generator import Generator, find_device
from distgan.inference.hub.find import repository_of
from distgan.metrics.evaluator import Evaluator
from distgan.metrics.flattery import warn_of_flattery
from distgan.metrics.protocol import Scores, check_same, load_scores
from distgan.utils.errors import ConfigError, DataError, QualityError
from distgan.utils.paths import user_path
from distgan.utils.safe_io import printable

READING = ("size", "fit", "channels", "label")  # keys of `data` that say how shards of another maker are read


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
    config = evaluate_config(settings)
    before = load_scores(user_path(against)) if isinstance(against, (str, Path)) else against
    with process_device(_device(generator, device)) as own:
        loaded, name = _loaded(generator, own, trust)
        loaded.latents([0], truncation)  # a wrong one is refused before the long work
        warn_of_flattery(loaded.description.config, config.extractor)
        evaluator = Evaluator(config, reference_data(loaded, name, data), own, show=progress and rank() == 0)
        if before is not None:
            check_same(before.protocol, evaluator.protocol.truncated(truncation))
        return evaluator.evaluate(loaded, truncation)


def evaluate_config(settings: dict[str, Any]) -> EvaluateConfig:
    """Keys of the section `evaluate` as a configuration. Raises ConfigError."""
    try:
        return Config.model_validate({"evaluate": settings}, context=TYPED.context).evaluate
    except ValidationError as error:
        raise ConfigError("\n".join(config_mistakes(error, 3))) from None


@contextmanager
def process_device(device: str | torch.device) -> Iterator[torch.device]:
    """The device of this process. Processes that a launcher started are joined inside the context, if they are not."""
    launched = all(os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))
    alone = world_size() == 1 if in_group() else not launched or os.environ["WORLD_SIZE"] == "1"
    if alone:
        yield find_device(device)
        return
    on_gpu = str(device) != "cpu" and torch.cuda.is_available()
    own = find_device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if on_gpu else "cpu")
    if on_gpu:
        torch.cuda.set_device(own)
    if in_group():
        yield own
        return
    with joined("nccl" if on_gpu else "gloo"):
        yield own


def reference_data(generator: Generator, name: str, given: DataConfig | str | Path | None) -> DataConfig:
    """The real images to compare with. Raises ConfigError, QualityError, DataError.

    name: the generator's, for an error. given: limited to the generator's classes if the data set has all of them.
    None: the training data, if they are a directory on this machine; a URL in a generator file is not followed.
    """
    classes = generator.class_names or None
    try:
        if isinstance(given, DataConfig):
            return given
        if given is not None:
            data = fitted(DataConfig(path=given), generator.size, generator.channels)  # type: ignore[arg-type]
            has_all = set(generator.class_names) <= set(open_data_set(data)[1].classes)
            return data.model_copy(update={"classes": classes if has_all else None})
    except ValidationError as error:
        raise ConfigError(f"evaluate.data: {first_mistake(error).rule}") from None
    recorded = generator.description.config.get("data")
    recorded = recorded if isinstance(recorded, dict) else {}
    directory = recorded.get("path")
    with suppress(ValueError, OSError, DataError):  # it is no path that can be read, or another key is forged
        if isinstance(directory, str) and "://" not in directory:
            path = user_path(directory)
            if (path / MANIFEST).is_file():
                return DataConfig(path=path, classes=classes)
            if are_there(path):
                reading = {key: recorded[key] for key in READING if key in recorded}
                return DataConfig(path=path, classes=classes, **reading)
    raise QualityError(
        f"{name} was trained on {printable(str(directory))}, which is not a data set on this machine; "
        "name the real images with data=SHARDS"
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
