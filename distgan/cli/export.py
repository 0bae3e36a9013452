"""`distgan export CHECKPOINT`: writes a checkpoint's generator, averaged or raw, to one safetensors file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from distgan.config.command_line import add_trust_argument, to_path
from distgan.config.load import validate
from distgan.config.networks import GENERATORS
from distgan.config.registry import Trust
from distgan.inference.generator_file import Description, save_generator
from distgan.training.checkpoint import storage
from distgan.training.early_stopping import BestState
from distgan.utils.errors import CheckpointError, ExportError
from distgan.utils.safe_io import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `distgan export`."""
    parser.add_argument("checkpoint", type=to_path, help="RUN/checkpoints/step-..., or RUN for its newest checkpoint")
    parser.add_argument(
        "--out", type=to_path, metavar="FILE", help="default: generator.safetensors in the run directory"
    )
    parser.add_argument("--weights", choices=("ema", "raw"), default="ema", help="averaged (default) or latest weights")

    add_trust_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Exports and prints the digest of the weights. Raises CheckpointError, ExportError."""
    path = find(args.checkpoint)
    out = args.out or path.parent.parent / "generator.safetensors"
    if out.suffix != ".safetensors":
        raise ExportError(f"--out {out} must end in .safetensors; nearest: {out.with_suffix('.safetensors')}")
    digest = export(path, out, args.weights, args.trust)
    print(f"{out}: {args.weights} weights of {path}, sha256 {digest}")
    return 0


def find(path: Path) -> Path:
    """The checkpoint at `path`, or the newest one of the run at `path`. Raises CheckpointError."""
    if storage.NAME.match(path.name):
        return path
    newest = storage.newest(path / "checkpoints", print)
    if newest is None:
        raise CheckpointError(
            f"{path} is neither a checkpoint (RUN/checkpoints/step-...) nor a run with a complete one"
        )
    return newest


def export(path: Path, out: Path, weights: Literal["ema", "raw"], trust: Sequence[str] = ()) -> str:
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
