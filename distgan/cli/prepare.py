"""`distgan prepare SOURCE --out DIR`: a data set of tar shards and a manifest."""

from __future__ import annotations

import argparse
import math
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distgan.config.choices import SOURCES
from distgan.config.command_line import option_of, to_path
from distgan.config.yaml_loader import plain_value
from distgan.data.make import prepare
from distgan.data.prepare import verify
from distgan.data.shards.manifest import MANIFEST
from distgan.data.sources.folder import Folder
from distgan.data.sources.shapes import SIZE, SIZES, Shapes
from distgan.utils.errors import DataError
from distgan.utils.names import split_names
from distgan.utils.paths import name_as_text

OUTSIDE = "outside"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `distgan prepare` to its parser."""
    common = _common_arguments(("train", "test"))
    sources = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")
    shapes = sources.add_parser("shapes", parents=[common], help="ten kinds of drawn shapes; needs no download")
    shapes.add_argument("--count", type=_positive, default=Shapes.count, metavar="N", help="images (20000)")
    shapes.add_argument("--size", type=int, choices=SIZES, default=SIZE, help="pixels high and wide (32)")
    shapes.add_argument("--channels", choices=("rgb", "gray"), default="rgb", help="three channels, or one (rgb)")
    cifar = sources.add_parser("cifar10", parents=[common], help="CIFAR-10, downloaded or from a local archive")
    cifar.add_argument(
        "--from", dest="archive", type=to_path, metavar="PATH",
        help="cifar-10-binary.tar.gz, cifar-10-python.tar.gz or the unpacked directory",
    )  # fmt: skip
    cifar.add_argument(
        "--download-dir", type=to_path, metavar="DIR", help="keeps the archive (default: OUT/../downloads)"
    )
    with_val = _common_arguments(("train", "val", "test"))
    folder = sources.add_parser("folder", parents=[with_val], help="your own images, a folder per class")
    folder.add_argument(
        "directory", type=to_path, metavar="DIR", help="holds one sub-folder per class, or train/ and test/ with them"
    )
    folder.add_argument("--size", type=_positive, default=Folder.size, metavar="N", help="pixels high and wide (32)")
    folder.add_argument("--skip-bad", action="store_true", help="leave out files that are not images, and list them")
    folder.add_argument(
        "--white", type=_above_zero, metavar="VALUE",
        help="value that becomes white in grey images of more than 8 bits, such as 4095 for a 12-bit camera (65535)",
    )  # fmt: skip

    outside = sources.add_parser(
        OUTSIDE, parents=[with_val], help="a source of your own, package.module:Name (docs/extending.md)"
    )
    outside.add_argument("name", metavar="NAME", help="package.module:Name; the word `outside` may be left out")
    outside.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="a setting of the source (may be repeated)"
    )


def with_kind(arguments: Sequence[str]) -> Sequence[str]:
    """The command's arguments, with `outside` before the name of a source that does not come with distgan."""
    command, *rest = arguments
    named = rest and rest[0] not in SOURCES.entries and (":" in rest[0] or rest[0] in SOURCES.names())
    return [command, OUTSIDE, *rest] if named else arguments


def _common_arguments(splits: tuple[str, ...]) -> argparse.ArgumentParser:
    """Returns a parser with the arguments of all sources. splits: those that the source may have."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--out", type=to_path, required=True, metavar="DIR", help="target directory; new or empty")
    common.add_argument("--split", choices=splits, default="train", help="part of the source (train)")
    common.add_argument("--classes", type=_names, metavar="A,B", help="only these classes, by name (default: all)")
    common.add_argument("--shard-size", type=_positive, default=1000, metavar="N", help="images per shard (1000)")
    common.add_argument(
        "--layout", choices=("pictures", "blocks"), default="pictures",
        help="a PNG per sample (default), or hundreds of raw images: larger, and many times as fast to stream",
    )  # fmt: skip
    common.add_argument("--seed", type=_natural, default=0, metavar="N", help="seed of all random choices (0)")
    common.add_argument("--keep-order", action="store_true", help="keep the source's order instead of mixing classes")
    common.add_argument("--overwrite", action="store_true", help="replace the data set at --out")
    common.add_argument("--verify", action="store_true", help="only check the finished data set at --out again")
    common.add_argument("--quiet", action="store_true", help="show no progress")
    return common


def run(args: argparse.Namespace) -> int:
    """Runs `distgan prepare` with parsed arguments and prints one line. Returns the exit code. Raises DataError."""
    start = time.monotonic()
    if args.verify:
        manifest, done = verify(args.out, not args.quiet), "verified"
        if args.source not in (manifest.source, OUTSIDE):
            raise DataError(f"{args.out} holds {manifest.source}, not {args.source}; choose another --out")
    else:
        before = _identity(args.out)
        source = args.name if args.source == OUTSIDE else args.source
        manifest = prepare(source, args.out, progress=not args.quiet, **options_of(args))
        done = "already complete" if before is not None and before == _identity(args.out) else "made"
    size = sum(shard.bytes for shard in manifest.shards) / 2**20
    classes, shards = _count(manifest.classes, "class", "classes"), _count(manifest.shards, "shard", "shards")
    print(
        f"{args.out}: {manifest.count:,} {manifest.split} images of {manifest.size}x{manifest.size} in "
        f"{classes}, {shards}, {size:,.1f} MiB: "
        f"{done} ({time.monotonic() - start:.1f} s)"
    )
    return 0


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """Parsed arguments as options of `distgan.prepare`."""
    fixed = ("command", "source", "out", "verify", "quiet", "name", "option")
    given = {name: value for name, value in vars(args).items() if name not in fixed and value is not None}
    own = dict(map(option_of, getattr(args, "option", ())))
    if taken := own.keys() & {*vars(args), "progress"}:
        raise DataError(f"--option {min(taken)}: every source has this; give --{min(taken).replace('_', '-')}")
    return given | own


def _identity(out: Path) -> tuple[int, int] | None:
    """Returns inode and time of the manifest at `out`, which change with every new data set; None without one."""
    try:
        status = (out / MANIFEST).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _count(items: Sequence[Any], singular: str, plural: str) -> str:
    return f"{len(items):,} {singular if len(items) == 1 else plural}"


def _names(text: str) -> tuple[str, ...]:
    return split_names(name_as_text(text))


def _positive(text: str) -> int:
    return _at_least(text, 1)


def _natural(text: str) -> int:
    return _at_least(text, 0)


def _above_zero(text: str) -> float:
    value = plain_value(text) if len(text) < 30 else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0, such as 4095")
    return float(value)


def _at_least(text: str, minimum: int) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) < minimum:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of {minimum} or more")
    return int(text)
