"""`distgan export RUN|FILE`: writes a generator to one file: safetensors, or for programs without distgan."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from distgan.config.command_line import add_trust_argument, to_path, to_source
from distgan.config.load import validate
from distgan.config.networks import GENERATORS
from distgan.config.registry import Trust
from distgan.inference.formats import CHECKED, SUFFIXES
from distgan.inference.generator import Generator, load_generator
from distgan.inference.generator_file import Description, check_no_program, save_generator
from distgan.inference.hub.find import fetch, repository_of
from distgan.inference.sampling import find_file
from distgan.training.checkpoint import storage
from distgan.training.early_stopping import BestState
from distgan.training.report.write import nearest_run
from distgan.utils.errors import CheckpointError, ExportError
from distgan.utils.safe_io import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `distgan export`."""
    parser.add_argument(
        "source", type=to_source, metavar="RUN|FILE",
        help="RUN/checkpoints/step-..., RUN for its newest checkpoint, a generator's safetensors file, or a repository "
        "on the Hub: me/cats, hf://me/cats@v1",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=("safetensors", *SUFFIXES), default="safetensors",
        help="safetensors (default) is for distgan; pt2 and torchscript for torch, onnx (extra onnx) for others",
    )  # fmt: skip
    parser.add_argument(
        "--out",
        type=to_path,
        metavar="FILE",
        help="default: generator.safetensors, .pt2, ... in the run; an older one is replaced",
    )
    parser.add_argument(
        "--half",
        action="store_true",
        help="fp16, half the size: generator_fp16.safetensors, ...",
    )
    parser.add_argument("--weights", choices=("ema", "raw"), default="ema", help="averaged (default) or latest weights")

    add_trust_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Exports, and prints what was written. Raises CheckpointError, ExportError."""
    source, repository = Path(args.source), repository_of(args.source)
    if repository is None and source.is_dir() and not storage.NAME.match(source.name):
        source = source if storage.steps(source / "checkpoints") else find_file(source)
    is_file = repository is not None or source.suffix == ".safetensors"
    suffix = SUFFIXES.get(args.format, ".safetensors")
    end = f"_fp16{suffix}" if args.half else suffix
    if repository and args.out is None:
        raise ExportError(f"{repository} is not in a directory here; say where the file goes: --out generator{suffix}")
    path = fetch(repository) if repository else source if is_file else find(source)
    out = args.out or (path.with_name(path.stem + end) if is_file else path.parent.parent / f"generator{end}")
    if out.suffix != suffix:
        raise ExportError(f"--out {out} must end in {suffix}; nearest: {out.with_suffix(suffix)}")
    if args.format == "safetensors":
        print(as_safetensors(args, path, is_file, out))
        return 0
    from distgan.inference.formats.write import write_portable  # torch's exporters take a while

    generator = whole(args, path, is_file)
    difference = write_portable(generator, out, args.format, args.half)
    size, levels = out.stat().st_size / 2**20, f"at most {difference} of 255 grey levels from distgan's"
    print(f"{out}: {size:.1f} MiB, the images of {CHECKED} seeds are {levels}, sha256 {generator.weight_digest}")
    return 0


def as_safetensors(args: argparse.Namespace, path: Path, is_file: bool, out: Path) -> str:
    """Writes the generator of a checkpoint, or of either as fp16, and says so. Errors as of `export`."""
    if args.half:
        return as_fp16(whole(args, path, is_file), path, out, args.trust)
    if is_file:
        others = ", ".join(SUFFIXES)
        raise ExportError(f"{path} is a safetensors file already; add --half, or choose another --format: {others}")
    return f"{out}: {args.weights} weights of {path}, sha256 {export(path, out, args.weights, args.trust)}"


def as_fp16(generator: Generator, path: Path, out: Path, trust: Sequence[str]) -> str:
    """Writes a generator with rounded weights, without its scores, which are of the others; says how far it is off."""
    description = generator.description.model_copy(update={"scores": None})
    digest = save_generator(out, generator.network.state_dict(), description, half=True)
    rounded = load_generator(out, trust=trust).sample(range(CHECKED))
    levels = int((rounded.int() - generator.sample(range(CHECKED)).int()).abs().max())
    found = f"the images of {CHECKED} seeds are at most {levels} of 255 grey levels from its own"
    return f"{out}: the weights of {path} as fp16, {found}, sha256 {digest}"


def whole(args: argparse.Namespace, path: Path, is_file: bool) -> Generator:
    """The generator in a file or of a checkpoint, in fp32. Errors as of `export`."""
    return load_generator(path, trust=args.trust) if is_file else generator_of(path, args.weights, args.trust)


def generator_of(path: Path, weights: Literal["ema", "raw"], trust: Sequence[str]) -> Generator:
    """The generator of a checkpoint. Errors as of `export`."""
    with TemporaryDirectory() as directory:
        file = Path(directory) / "generator.safetensors"
        export(path, file, weights, trust)
        return load_generator(file, trust=trust)


def find(path: Path) -> Path:
    """The checkpoint at `path`, or the newest one of the run at `path`. Raises CheckpointError."""
    if storage.NAME.match(path.name):
        return path
    newest = storage.newest(path / "checkpoints", print)
    if newest is None:
        if path.is_file():
            check_no_program(path)
        if not path.exists():
            raise CheckpointError(f"there is no {path}{nearest_run(path)}")
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
