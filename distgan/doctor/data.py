"""The images: manifest, shards, checksums, first images, classes. Only a first look at foreign shards is kept."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from distgan.config.schema import Config, DataConfig
from distgan.data.location import open_data_set
from distgan.data.prepare import find_existing
from distgan.data.remote.store import RemoteStore
from distgan.data.shards.manifest import MANIFEST, Manifest
from distgan.data.shards.reader import first_images
from distgan.data.shards.selection import ShardSelection, select_shards
from distgan.doctor.check_result import (
    CheckResult,
    existing_directory,
    fail,
    format_bytes,
    format_seconds,
    ok,
    run_check,
    warn,
)
from distgan.utils.errors import DataError
from distgan.utils.files import is_intact
from distgan.utils.progress import track

TO_PREPARE = {
    "shapes": (60 << 20, "takes seconds"), "cifar10": (400 << 20, "downloads 162 MiB"),
    "cifar100": (400 << 20, "downloads 161 MiB"), "mnist": (160 << 20, "downloads 10 MiB"),
}  # fmt: skip  # bytes, effort
CHECKSUM_SECONDS = 600.0  # for all shards; training checks the rest
REMOTE_TRIES, REMOTE_SECONDS = 2, 10.0  # the doctor is less patient than training
FIRST_IMAGES = 16  # that are decoded
RARE = 0.1  # of the mean number of images per class


class DataSet(NamedTuple):
    """A data set that exists, and the shards of it that data.classes selects."""

    manifest: Manifest
    selection: ShardSelection


def impatient(config: DataConfig) -> DataConfig:
    """The same images, read without a cache and with fewer tries."""
    stall_seconds = min(config.stall_seconds, REMOTE_SECONDS)
    return config.model_copy(update={"cache": None, "tries": REMOTE_TRIES, "stall_seconds": stall_seconds})


def check_data(config: Config) -> tuple[DataSet | None, list[CheckResult]]:
    """The data set, and the result of reading its manifest.

    The data set is None where training would prepare it first (ok), or cannot start (fail).
    """
    data = config.data
    if isinstance(data.path, Path) and data.prepare and not (data.path / MANIFEST).exists():
        return None, [check_preparation(data.path, data.prepare)]
    try:
        location, manifest = open_data_set(impatient(data))
        selection = select_shards(location, manifest, data.classes)
    except DataError as error:
        return None, [fail("data", str(error), "fix data.path, data.classes, data.size or the copy of the data set")]
    size = sum(shard.bytes for shard in selection.shards)
    pixels = f"{selection.size}x{selection.size}{' gray' if selection.form.channels == 1 else ''}"
    text = f"{location}: {selection.total:,} images of {pixels}, {len(selection.classes)} class(es)"
    result = ok("data", f"{text}, {len(selection.shards):,} shard(s), {format_bytes(size)}")
    return DataSet(manifest, selection), [result]


def check_preparation(path: Path, source: str) -> CheckResult:
    """Whether data.prepare=`source` can make a data set at `path`."""
    try:
        find_existing(path, {}, overwrite=False)
        free = shutil.disk_usage(existing_directory(path)).free
    except (DataError, OSError) as error:
        return fail("data", str(error), "set data.path to a new directory")
    text = f"data.prepare={source} will make {path} when training starts"
    if source not in TO_PREPARE:
        return ok("data", f"{text}; {format_bytes(free)} are free")
    need, effort = TO_PREPARE[source]
    text += f": it {effort}, needs up to {format_bytes(need)}"
    if free < need:
        return fail("data", f"{text}, {format_bytes(free)} are free", "make room, or set data.path")
    return ok("data", text)


def check_contents(config: Config, data_set: DataSet, quick: bool, show: bool) -> list[CheckResult]:
    """Checks shards, checksums, images and classes. quick: skip the checksums; show: progress on stderr."""
    selection, skip = data_set.selection, config.data.on_error == "skip"
    counts = data_set.manifest.class_counts
    results = run_check("shards", lambda: check_shards(selection, skip))
    if any(result.level == "fail" for result in results):
        return [*results, *check_classes(selection, counts)]
    if isinstance(selection.location, RemoteStore):
        results += run_check("checksums", lambda: check_first_shard(selection), 300)
    elif quick:
        results.append(ok("checksums", "skipped (--quick)"))
    else:
        results += run_check("checksums", lambda: check_checksums(selection, skip, show), CHECKSUM_SECONDS + 60)
    results += run_check("images", lambda: check_images(selection, config.data.max_skipped if skip else 0), 300)
    return [*results, *check_classes(selection, counts)]


def check_shards(selection: ShardSelection, skip: bool) -> list[CheckResult]:
    """Whether all local shards exist with the manifest's sizes. skip: whether data.on_error=skip."""
    if isinstance(selection.location, RemoteStore):
        return []
    problems = []
    for shard in selection.shards:
        try:
            size = (selection.location / shard.name).stat().st_size
            if size != shard.bytes:
                problems.append(f"{shard.name} has {size:,} bytes, its manifest says {shard.bytes:,}")
        except OSError as error:
            problems.append(f"{shard.name}: {error.strerror}")
    count = f"{len(selection.shards):,} shard(s)"
    if problems:
        return [_damaged("shards", problems, count, skip)]
    return [ok("shards", f"{count}, all with the sizes in the manifest")]


def check_checksums(
    selection: ShardSelection, skip: bool, show: bool, seconds: float = CHECKSUM_SECONDS
) -> list[CheckResult]:
    """Whether every local shard has the manifest's sha256.

    skip: whether data.on_error=skip; show: progress on stderr; seconds: after which no other shard is read.
    """
    assert isinstance(selection.location, Path)
    problems, done, size, start = list[str](), 0, 0, time.monotonic()
    for shard in track(selection.shards, len(selection.shards), "checksums", "shards", enabled=show):
        if time.monotonic() - start > seconds:
            break
        with (selection.location / shard.name).open("rb") as file:
            if not is_intact(file, shard.bytes, shard.sha256):
                problems.append(f"{shard.name} is damaged: its sha256 is not the manifest's")
        done, size = done + 1, size + shard.bytes
    elapsed = time.monotonic() - start
    if problems:
        return [_damaged("checksums", problems, f"{done:,} shard(s)", skip)]
    if done < len(selection.shards):
        text = f"only {done:,} of {len(selection.shards):,} shards were read in {format_seconds(elapsed)}"
        return [warn("checksums", text, "use a faster disk, or run `distgan prepare ... --verify`")]
    return [ok("checksums", f"{done:,} shard(s) match the manifest ({format_bytes(size / max(elapsed, 1e-6))}/s)")]


def _damaged(what: str, problems: list[str], count: str, skip: bool) -> CheckResult:
    text = f"{len(problems):,} of {count}: {problems[0]}" + (" ..." if len(problems) > 1 else "")
    if skip:
        return warn(what, text, "their bad images will be skipped (data.on_error=skip)")
    return fail(what, text, "copy them again, make the data set again, or set data.on_error=skip")


def check_first_shard(selection: ShardSelection) -> list[CheckResult]:
    """Fetches one shard from a server, and estimates the time for all of them. Raises DataError."""
    assert isinstance(selection.location, RemoteStore)
    shard, start = selection.shards[0], time.monotonic()
    with selection.location.open(shard.name, shard.bytes, shard.sha256):
        seconds = max(time.monotonic() - start, 1e-6)
    total = sum(item.bytes for item in selection.shards) * seconds / shard.bytes
    text = f"{shard.name} matches the manifest, fetched at {format_bytes(shard.bytes / seconds)}/s"
    rest = f"all shards one after another would take {format_seconds(total)}; training checks the others"
    return [ok("checksums", f"{text}; {rest}")]


def check_images(selection: ShardSelection, max_skipped: int) -> list[CheckResult]:
    """Whether the first images can be decoded and have the manifest's size. max_skipped: bad images that may be."""
    try:
        count = len(first_images(selection, FIRST_IMAGES, max_skipped)[1])
    except DataError as error:
        return [fail("images", str(error), "make the data set again, or set data.on_error=skip")]
    kind = "gray" if selection.form.channels == 1 else "RGB"
    return [ok("images", f"the first {count} can be decoded, {selection.size}x{selection.size} {kind}")]


def check_classes(selection: ShardSelection, counts: Mapping[str, int]) -> list[CheckResult]:
    """Whether a class is empty or very rare. counts: {class: images}, for all classes of the manifest."""
    mean = selection.total / len(selection.classes)
    rare = [f"{name} has {counts[name]:,}" for name in selection.classes if counts[name] < RARE * mean]
    if rare:
        text = f"{', '.join(rare[:8])}{' ...' if len(rare) > 8 else ''} of {selection.total:,} images"
        return [warn("classes", text, "G will hardly learn them: add images, or choose others with data.classes")]
    least, most = (extreme(counts[name] for name in selection.classes) for extreme in (min, max))
    each = f"{most:,} images" if least == most else f"{least:,} to {most:,} images"
    return [ok("classes", f"{len(selection.classes)}, {each} each")]
