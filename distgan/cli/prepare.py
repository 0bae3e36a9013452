"""`distgan prepare SOURCE --out DIR`: a data set of tar shards and a manifest."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distgan.data.prepare import Request, prepare, verify
from distgan.data.shards.manifest import MANIFEST
from distgan.data.sources.cifar10 import Cifar10
from distgan.data.sources.folder import Folder
from distgan.data.sources.shapes import Shapes
from distgan.utils.errors import DataError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Fills the parser of `distgan prepare`."""
    sources = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the data set goes; new or empty")
    common.add_argument("--split", choices=("train", "test"), default="train", help="which part (default: train)")
    common.add_argument("--classes", type=_names, metavar="A,B", help="only these classes, by name (default: all)")
    common.add_argument("--shard-size", type=_positive, default=1000, metavar="N", help="images per shard (1000)")
    common.add_argument(
        "--layout", choices=("pictures", "blocks"), default="pictures",
        help="a PNG per sample (default), or hundreds of raw images: larger, and many times as fast to stream",
    )  # fmt: skip
    common.add_argument("--seed", type=_natural, default=0, metavar="N", help="seed of all that is random (0)")
    common.add_argument("--keep-order", action="store_true", help="keep the source's order instead of mixing classes")
    common.add_argument("--overwrite", action="store_true", help="replace the data set that is at --out")
    common.add_argument("--verify", action="store_true", help="only re-check the finished data set at --out")
    common.add_argument("--quiet", action="store_true", help="no progress")

    shapes = sources.add_parser("shapes", parents=[common], help="ten kinds of drawn shapes; needs no download")
    shapes.add_argument("--count", type=_positive, default=Shapes.count, metavar="N", help="images (20000)")
    cifar = sources.add_parser("cifar10", parents=[common], help="CIFAR-10, downloaded or from a local archive")
    cifar.add_argument(
        "--from", dest="archive", type=Path, metavar="PATH",
        help="cifar-10-binary.tar.gz, cifar-10-python.tar.gz or the unpacked directory",
    )  # fmt: skip
    cifar.add_argument("--download-dir", type=Path, metavar="DIR", help="keeps the archive (default: OUT/../downloads)")
    folder = sources.add_parser("folder", parents=[common], help="your own PNG, JPEG or WebP files, a folder per class")
    folder.add_argument(
        "directory", type=Path, metavar="DIR", help="holds one sub-folder per class, or train/ and test/"
    )
    folder.add_argument("--size", type=_positive, default=Folder.size, metavar="N", help="pixels high and wide (32)")
    folder.add_argument("--skip-bad", action="store_true", help="leave out files that are no images, and list them")


def run(args: argparse.Namespace) -> int:
    """What `distgan prepare` does once the command line is parsed; prints one line. Raises DataError."""
    start = time.monotonic()
    if args.verify:
        manifest, what = verify(args.out, not args.quiet), "verified"
        if manifest.source != args.source:
            raise DataError(f"{args.out} holds {manifest.source}, not {args.source}; choose another --out")
    else:
        before = _identity(args.out)
        manifest = prepare(request_of(args), not args.quiet)
        what = "already complete" if before is not None and before == _identity(args.out) else "made"
    size = sum(shard.bytes for shard in manifest.shards) / 2**20
    classes, shards = _count(manifest.classes, "class", "classes"), _count(manifest.shards, "shard", "shards")
    print(
        f"{args.out}: {manifest.count:,} {manifest.split} images of {manifest.size}x{manifest.size} in "
        f"{classes}, {shards}, {size:,.1f} MiB: "
        f"{what} ({time.monotonic() - start:.1f} s)"
    )
    return 0


def request_of(args: argparse.Namespace) -> Request:
    """The request that a parsed command line stands for."""
    source: Shapes | Cifar10 | Folder
    if args.source == "shapes":
        source = Shapes(args.count, args.seed)
    elif args.source == "cifar10":
        source = Cifar10(args.archive, args.download_dir or args.out.parent / "downloads")
    else:
        source = Folder(args.directory, args.size, args.skip_bad)
    return Request(
        args.out,
        source,
        args.split,
        args.classes,
        args.shard_size,
        args.layout,
        args.seed,
        args.keep_order,
        args.overwrite,
    )


def _identity(out: Path) -> tuple[int, int] | None:
    try:
        status = (out / MANIFEST).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _count(things: Sequence[Any], one: str, many: str) -> str:
    return f"{len(things):,} {one if len(things) == 1 else many}"


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _positive(text: str) -> int:
    return _at_least(text, 1)


def _natural(text: str) -> int:
    return _at_least(text, 0)


def _at_least(text: str, least: int) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) < least:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of {least} or more")
    return int(text)
