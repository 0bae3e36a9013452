"""`distgan export RUN|FILE`: writes a generator to one file: safetensors, or for programs without distgan."""

from __future__ import annotations

import argparse
from pathlib import Path

from distgan.config.command_line import add_trust_argument, to_file, to_source
from distgan.inference.formats import CHECKED, SUFFIXES
from distgan.inference.generator import Generator, load_generator
from distgan.inference.generator_file import check_no_program, save_generator
from distgan.training.checkpoint.find import ANY_SOURCE, Found, find_generator, load, newest_checkpoint
from distgan.training.checkpoint.generator import export_checkpoint
from distgan.utils.errors import ExportError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `distgan export`."""
    parser.add_argument(
        "source", type=to_source, metavar="RUN|FILE",
        help=f"{ANY_SOURCE}. A plain safetensors file, or --weights raw, is always of a checkpoint: of RUN, the newest",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=("safetensors", *SUFFIXES), default="safetensors",
        help="safetensors (default) is for distgan; pt2 and torchscript for torch, onnx (extra onnx) for others",
    )  # fmt: skip
    parser.add_argument(
        "--out",
        type=to_file,
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
    found = _find(args)
    out = _out(args, found)
    if args.format == "safetensors" and not args.half:
        digest = export_checkpoint(found.path, out, args.weights, args.trust)
        print(f"{out}: {args.weights} weights of {found}, sha256 {digest}")
        return 0
    generator = load(found, args.trust, args.weights)
    write = as_fp16 if args.format == "safetensors" else as_portable
    print(f"{out}: the weights of {found}{write(generator, out, args)}")
    return 0


def _find(args: argparse.Namespace) -> Found:
    """What is exported: of a run what all commands take, or its newest checkpoint where only that has what is needed.

    Raises CheckpointError, and ExportError for a file in the place of a checkpoint.
    """
    copied, raw = args.format == "safetensors" and not args.half, args.weights == "raw"
    found = find_generator(args.source)
    if found.run is not None and (copied or raw):
        found = Found(newest_checkpoint(found.run), found.run)
    if copied and not found.in_checkpoint:
        check_no_program(found.path)
        others = ", ".join(SUFFIXES)
        raise ExportError(f"{found} is a safetensors file already; add --half, or choose another --format: {others}")
    if raw and not found.in_checkpoint:
        raise ExportError(
            f"--weights raw: {found} has one kind of weights, a checkpoint has both; name RUN/checkpoints/step-..., or "
            "leave it out"
        )
    return found


def _out(args: argparse.Namespace, found: Found) -> Path:
    """Where the file goes; by default into the checkpoint's run, or beside the generator's file. Raises ExportError."""
    suffix = SUFFIXES.get(args.format, ".safetensors")
    end = f"_fp16{suffix}" if args.half else suffix
    if args.out is not None:
        if args.out.suffix != suffix:
            raise ExportError(f"--out {args.out} must end in {suffix}; nearest: {args.out.with_suffix(suffix)}")
        return Path(args.out)
    if found.repository is not None:
        raise ExportError(f"{found} is not in a directory here; say where the file goes: --out generator{suffix}")
    if found.in_checkpoint:
        return (found.run or found.path.absolute().parent.parent) / f"generator{end}"
    return found.path.with_name(found.path.stem + end)


def as_fp16(generator: Generator, out: Path, args: argparse.Namespace) -> str:
    """Writes a generator with rounded weights, without its scores, which are of the others; says how far it is off."""
    description = generator.description.model_copy(update={"scores": None})
    digest = save_generator(out, generator.network.state_dict(), description, half=True)
    rounded = load_generator(out, trust=args.trust).sample(range(CHECKED))
    levels = int((rounded.int() - generator.sample(range(CHECKED)).int()).abs().max())
    found = f"the images of {CHECKED} seeds are at most {levels} of 255 grey levels from its own"
    return f" as fp16, {found}, sha256 {digest}"


def as_portable(generator: Generator, out: Path, args: argparse.Namespace) -> str:
    """Writes a generator for programs without distgan; says how far its images are off. Raises ExportError."""
    from distgan.inference.formats.write import write_portable  # torch's exporters take a while

    difference = write_portable(generator, out, args.format, args.half)
    size, levels = out.stat().st_size / 2**20, f"at most {difference} of 255 grey levels from distgan's"
    return f", {size:.1f} MiB, the images of {CHECKED} seeds are {levels}, sha256 {generator.weight_digest}"
