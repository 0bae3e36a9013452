"""`distgan prepare SOURCE --out DIR`: a data set of tar shards and a manifest."""

from __future__ import annotations

import argparse
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from distgan.cli.prepare_sources import OUTSIDE, add_sources
from distgan.config.choices import SOURCES
from distgan.config.command_line import option_of
from distgan.data.make import prepare, request_of
from distgan.data.prepare import MAX_NOTES, verify
from distgan.data.shards.manifest import MANIFEST
from distgan.data.survey import Survey, survey
from distgan.utils.errors import DataError
from distgan.utils.names import join_names

MAX_CLASSES = 100  # that a dry run lists
MAX_SIZES = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `distgan prepare` to its parser."""
    add_sources(parser)


def with_kind(arguments: Sequence[str]) -> Sequence[str]:
    """The command's arguments, with `outside` before the name of a source that does not come with distgan."""
    command, *rest = arguments
    named = rest and rest[0] not in SOURCES.entries and (":" in rest[0] or rest[0] in SOURCES.names())
    return [command, OUTSIDE, *rest] if named else arguments


def run(args: argparse.Namespace) -> int:
    """Runs `distgan prepare` with parsed arguments and prints one line. Returns the exit code. Raises DataError."""
    start = time.monotonic()
    source = args.name if args.source == OUTSIDE else args.source
    if args.dry_run:
        _print_survey(survey(request_of(source, args.out or Path("OUT"), options_of(args)), not args.quiet))
        return 0
    if args.verify:
        manifest, done = verify(args.out, not args.quiet), "verified"
        if args.source not in (manifest.source, OUTSIDE):
            raise DataError(f"{args.out} holds {manifest.source}, not {args.source}; choose another --out")
    else:
        before = _identity(args.out)
        manifest = prepare(source, args.out, progress=not args.quiet, **options_of(args))
        done = "already complete" if before is not None and before == _identity(args.out) else "made"
    size = sum(shard.bytes for shard in manifest.shards) / 2**20
    classes, shards = _count(manifest.classes, "class", "classes"), _count(manifest.shards, "shard", "shards")
    gray = " in gray" if manifest.channels == 1 else ""
    print(
        f"{args.out}: {manifest.count:,} {manifest.split} images of {manifest.size}x{manifest.size}{gray} in "
        f"{classes}, {shards}, {size:,.1f} MiB: "
        f"{done} ({time.monotonic() - start:.1f} s)"
    )
    return 0


def _print_survey(found: Survey) -> None:
    """Prints what a dry run has found."""
    offer, total = found.offer, sum(found.counts.values())
    print(f"{offer.source}: {total:,} images in {_count(found.counts, 'class', 'classes')} would be taken")
    shown = list(found.counts.items())
    for name, count in shown[:MAX_CLASSES]:
        print(f"  {join_names([name])}: {count:,}")
    if len(shown) > MAX_CLASSES:
        print(f"  ... {len(shown) - MAX_CLASSES:,} more classes")
    by_count = sorted(found.sizes.items(), key=lambda item: (-item[1], item[0]))
    sizes = [f"{width}x{height} ({count:,})" for (width, height), count in by_count[:MAX_SIZES]]
    more = len(found.sizes) - MAX_SIZES
    print(f"sizes there: {', '.join(sizes)}" + (f", and {more:,} more" if more > 0 else ""))
    print(f"left out: {found.left_out:,}")
    for note in sorted(found.notes)[:MAX_NOTES]:
        print(f"note: {note}")
    channels = "RGB" if offer.channels == 3 else "gray"
    kept = f"no data set was written, but files are kept in {join_names(list(map(str, found.kept)), ' and ')}"
    written = kept if found.kept else "nothing was written"
    print(f"they would become {offer.size}x{offer.size} in {channels}; {written}")


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """Parsed arguments as options of `distgan.prepare`."""
    fixed = ("command", "source", "out", "verify", "quiet", "dry_run", "name", "option")
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


def _count(items: Collection[Any], singular: str, plural: str) -> str:
    return f"{len(items):,} {singular if len(items) == 1 else plural}"
