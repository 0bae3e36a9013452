"""The scores of a generator as one call.

In: a generator and real images. Out: `Scores`, the same on every process. Processes that torchrun or accelerate started
share the work.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
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
from distgan.inference.generator import Generator, find_device
from distgan.metrics.evaluator import Evaluator
from distgan.metrics.flattery import warn_of_flattery
from distgan.metrics.protocol import Scores, check_same
from distgan.utils.errors import ConfigError, DataError, QualityError
from distgan.utils.paths import user_path
from distgan.utils.safe_io import printable

READING = ("size", "fit", "channels", "label")  # keys of `data` that say how shards of another maker are read


def evaluate(
    generator: Generator,
    reference: DataConfig,
    device: torch.device,
    *,
    against: Scores | None = None,
    truncation: float | None = None,
    progress: bool = True,
    **settings: Any,
) -> Scores:
    """The scores of a generator; other arguments and errors as of `distgan.evaluate` (training/scores.py).

    reference: of `reference_data`; device: this process's, of `process_device`.
    """
    config = evaluate_config(settings)
    generator.latents([0], truncation)  # a wrong one is refused before the long work
    warn_of_flattery(generator.description.config, config.extractor)
    evaluator = Evaluator(config, reference, device, show=progress and rank() == 0)
    if against is not None:
        check_same(against.protocol, evaluator.protocol.truncated(truncation))
    return evaluator.evaluate(generator, truncation)


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
