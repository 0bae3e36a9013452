"""`distgan prepare`: a source in, a directory of tar shards with a manifest out, all of it or nothing.

The shards are written to a hidden directory beside the target, the manifest last; then the directory gets its name.
The same request on a finished directory does nothing, another request is refused unless `overwrite` is set.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from distgan.config.schema import URL
from distgan.data.existing import look, verify
from distgan.data.publish import publish, target_errors, workplace
from distgan.data.shards.manifest import MANIFEST, Layout, Manifest, load_manifest
from distgan.data.shards.writer import Offer, write_shards
from distgan.data.sources.cifar10 import Cifar10
from distgan.data.sources.folder import Folder
from distgan.data.sources.shapes import Shapes
from distgan.utils.counter_rng import permutation
from distgan.utils.errors import DataError

NOTES_SHOWN = 20


@dataclass(frozen=True)
class Request:
    """What to make, and where."""

    out: Path
    source: Shapes | Cifar10 | Folder
    split: str = "train"
    classes: tuple[str, ...] | None = None  # None: all
    shard_size: int = 1000  # pictures per tar file
    layout: Layout = "pictures"
    seed: int = 0  # of the order of the pictures
    keep_order: bool = False  # as in the source; else shuffled, so that each shard mixes the classes
    overwrite: bool = False


def prepare(request: Request, progress: bool = True) -> Manifest:
    """Makes the data set, or finds that it is there. Returns its manifest.

    Raises DataError if the source or the target cannot be used; the target is then as before.
    """
    target = Path(os.path.realpath(request.out))
    offer = request.source.offer(request.split, request.classes)
    asked = _asked(request, offer)
    if found := look(request.out, asked, request.overwrite):
        return found
    if os.path.ismount(target):
        raise DataError(f"{request.out} is a mount point and cannot be replaced; choose {request.out / 'data'}")
    pictures = offer.load(progress)
    count = len(pictures.keys)
    order = np.arange(count) if request.keep_order else permutation(request.seed, "prepare-order", count)
    with target_errors(request.out, count * (3 * offer.size**2 + 2560)), workplace(target) as place:
        size, layout = request.shard_size, request.layout
        shards = write_shards(place, request.split, offer, pictures, order, size, layout, progress)
        totals = np.sum([shard.class_counts for shard in shards], axis=0) if shards else np.zeros(len(offer.classes))
        _report(pictures.notes)
        if not totals.all():
            name = offer.classes[int(np.argmin(totals))]
            raise DataError(
                f"class '{name}' has no picture that can be read; repair them, or leave it out with --classes"
            )
        manifest = Manifest(
            source=offer.source,
            split=request.split,
            size=offer.size,
            layout=layout,
            classes=offer.classes,
            shards=shards,
            request=asked,
        )
        manifest.save(place)
        if publish(place, target, request.overwrite):
            return manifest
    for _ in range(10):  # another process was faster; a network file system may need a moment to show it
        if found := look(request.out, asked, overwrite=False):
            return found
        time.sleep(0.5)
    raise DataError(f"{request.out} was removed while it was made; run this again")


def ensure(path: Path | URL, source: Literal["shapes", "cifar10"], progress: bool) -> Manifest:
    """The data set at `path`; where there is none, the default one of `source` is made first.

    Any number of processes on any machines may call this at the same time: each sees a whole data set.
    path: a directory; the configuration has no `source` for a URL.
    """
    assert isinstance(path, Path)
    if (path / MANIFEST).exists():
        return load_manifest(path)
    chosen = Shapes() if source == "shapes" else Cifar10(download_dir=path.parent / "downloads")
    return prepare(Request(out=path, source=chosen), progress)


def _asked(request: Request, offer: Offer) -> dict[str, Any]:
    """All that decides the bytes of the shards, for the manifest."""
    order = {"keep_order": True} if request.keep_order else {"keep_order": False, "order_seed": request.seed}
    common = {"source": offer.source, "split": request.split, "classes": list(offer.classes)}
    return {**common, "layout": request.layout, "shard_size": request.shard_size, **order, **offer.request}


def _report(notes: list[str]) -> None:
    for note in sorted(notes)[:NOTES_SHOWN]:
        print(f"note: {note}", file=sys.stderr)
    if len(notes) > NOTES_SHOWN:
        print(f"note: and {len(notes) - NOTES_SHOWN:,} more ({len(notes):,} in all)", file=sys.stderr)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Fills the parser of `distgan prepare`."""
    sources = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the data set goes; new or empty")
    common.add_argument("--split", choices=("train", "test"), default="train", help="which part (default: train)")
    common.add_argument("--classes", type=_names, metavar="A,B", help="only these classes, by name (default: all)")
    common.add_argument("--shard-size", type=_positive, default=1000, metavar="N", help="pictures per shard (1000)")
    common.add_argument(
        "--layout", choices=("pictures", "blocks"), default="pictures",
        help="a PNG per sample (default), or hundreds of raw pictures: larger, and many times as fast to stream",
    )  # fmt: skip
    common.add_argument("--seed", type=_natural, default=0, metavar="N", help="seed of all that is random (0)")
    common.add_argument("--keep-order", action="store_true", help="keep the source's order instead of mixing classes")
    common.add_argument("--overwrite", action="store_true", help="replace the data set that is at --out")
    common.add_argument("--verify", action="store_true", help="only re-check the finished data set at --out")
    common.add_argument("--quiet", action="store_true", help="no progress")

    shapes = sources.add_parser("shapes", parents=[common], help="ten kinds of drawn shapes; needs no download")
    shapes.add_argument("--count", type=_positive, default=Shapes.count, metavar="N", help="pictures (20000)")
    cifar = sources.add_parser("cifar10", parents=[common], help="CIFAR-10, downloaded or from a local archive")
    cifar.add_argument(
        "--from", dest="archive", type=Path, metavar="PATH",
        help="cifar-10-python.tar.gz, cifar-10-binary.tar.gz or the unpacked directory",
    )  # fmt: skip
    cifar.add_argument("--download-dir", type=Path, metavar="DIR", help="keeps the archive (default: OUT/../downloads)")
    folder = sources.add_parser("folder", parents=[common], help="your own PNG, JPEG or WebP files, a folder per class")
    folder.add_argument(
        "directory", type=Path, metavar="DIR", help="holds one sub-folder per class, or train/ and test/"
    )
    folder.add_argument("--size", type=_positive, default=Folder.size, metavar="N", help="pixels high and wide (32)")
    folder.add_argument("--skip-bad", action="store_true", help="leave out files that are no pictures, and list them")


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
        f"{args.out}: {manifest.count:,} {manifest.split} pictures of {manifest.size}x{manifest.size} in "
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
