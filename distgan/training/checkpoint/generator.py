"""The generator in a checkpoint: written to a file of its own, or loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from distgan.config.load import validate
from distgan.config.networks import GENERATORS
from distgan.config.registry import Trust
from distgan.inference.generator import Generator, load_generator
from distgan.inference.generator_file import Description, save_generator
from distgan.training.checkpoint import storage
from distgan.training.early_stopping import BestState
from distgan.utils.errors import CheckpointError
from distgan.utils.safe_io import printable

Weights = Literal["ema", "raw"]  # averaged, or as the last step left them


def load_from_checkpoint(path: Path, weights: Weights, trust: Sequence[str]) -> Generator:
    """The generator of the checkpoint at `path`. Errors as of `export_checkpoint`."""
    with TemporaryDirectory() as directory:
        file = Path(directory) / "generator.safetensors"
        export_checkpoint(path, file, weights, trust)
        return load_generator(file, trust=trust)


def export_checkpoint(path: Path, out: Path, weights: Weights, trust: Sequence[str] = ()) -> str:
    """Writes the generator of the checkpoint at `path` to `out`; returns the digest of its weights.

    Raises CheckpointError for a damaged checkpoint, ExportError if the file cannot be written.
    """
    tensors, values = storage.load(path)
    prefix = {"ema": "ema/", "raw": "g/"}[weights]
    try:
        config = validate(values["config"], str(path))
        GENERATORS.admit_of(config.generator, Trust(tuple(trust)))
        if type(updates := values["d"]["updates"]) is not int:
            raise ValueError("d.updates is not a whole number")
        images = updates * config.train.batch_size
        last = BestState.model_validate(values.get("best", {})).last  # checkpoints of 0.1.0 do not have it
        evaluated = last is not None and (last.images_seen, last.weights) == (images, weights)
        description = Description.of(
            config,
            size=values["size"],
            channels=values.get("channels", 3),  # only checkpoints of gray images have it
            class_names=tuple(values["class_names"]),
            images_seen=images,
            weights=weights,
            data_digest=values["data_digest"],
            scores=last.model_dump(mode="json") if last and evaluated else None,
        )
    except KeyError as error:
        raise CheckpointError(f"{path} is damaged: its state.json has no {printable(str(error))}") from None
    except (TypeError, ValueError) as error:  # pydantic's ValidationError is a ValueError
        raise CheckpointError(f"{path} is damaged: its state.json is wrong: {printable(str(error))}") from None
    network = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    return save_generator(out, network, description)
