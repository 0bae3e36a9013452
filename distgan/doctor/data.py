"""The images: manifest, shards, checksums, first images, classes. Nothing is fetched into a cache or written."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from distgan.config.schema import Config, DataConfig
from distgan.data.prepare import find_existing
from distgan.data.remote.store import RemoteStore
from distgan.data.shards.manifest import MANIFEST, Manifest, load_manifest
from distgan.data.shards.reader import ShardSelection, first_images, select_shards
from distgan.doctor.finding import Finding, fail, guarded, nearest, ok, shown_bytes, shown_seconds, warn
from distgan.utils.errors import DataError
from distgan.utils.files import is_intact
from distgan.utils.progress import track

MADE = {"shapes": (60 << 20, "takes seconds"), "cifar10": (400 << 20, "downloads 162 MiB")}  # bytes, what it takes
CHECKSUM_SECONDS = 600.0  # for all shards; then the rest is left to training
FAR_TRIES, FAR_SECONDS = 2, 10.0  # the doctor is less patient than training
FIRST = 16  # images that are decoded
RARE = 0.1  # of an even share


class Seen(NamedTuple):
    """The images that are there."""

    manifest: Manifest
    wanted: ShardSelection


def place_of(config: DataConfig) -> Path | RemoteStore:
    """Where the images are, to be read without a cache."""
    path = config.path
    return path if isinstance(path, Path) else RemoteStore(path, FAR_TRIES, min(config.stall_seconds, FAR_SECONDS))


def seen(config: Config) -> tuple[Seen | None, list[Finding]]:
    """What the manifest says, or None where training would make the data set first, or cannot begin."""
    data, place = config.data, place_of(config.data)
    if isinstance(place, Path) and data.prepare and not (place / MANIFEST).exists():
        return None, [to_be_made(place, data.prepare)]
    try:
        manifest = load_manifest(place)
        wanted = select_shards(place, manifest, data.classes)
    except DataError as error:
        return None, [fail("data", str(error), "mend data.path, data.classes or the copy of the data set")]
    size = sum(shard.bytes for shard in wanted.shards)
    text = f"{place}: {wanted.total:,} images of {wanted.size}x{wanted.size}, {len(wanted.classes)} class(es)"
    found = ok("data", f"{text}, {len(wanted.shards):,} shard(s), {shown_bytes(size)}")
    return Seen(manifest, wanted), [found]


def to_be_made(path: Path, source: str) -> Finding:
    """About a data set that data.prepare will make."""
    try:
        find_existing(path, {}, overwrite=False)
        free = shutil.disk_usage(nearest(path)).free
    except (DataError, OSError) as error:
        return fail("data", str(error), "set data.path to a new directory")
    need, takes = MADE[source]
    text = f"data.prepare={source} will make {path} when training starts: it {takes}, needs up to {shown_bytes(need)}"
    if free < need:
        return fail("data", f"{text}, {shown_bytes(free)} are free", "make room, or set data.path")
    return ok("data", text)


def contents(config: Config, found: Seen, quick: bool, show: bool) -> list[Finding]:
    """Shards, checksums, images, classes. quick: without the checksums."""
    skip = config.data.on_error == "skip"
    findings = guarded("shards", lambda: shards(found.wanted, skip))
    if any(finding.level == "fail" for finding in findings):
        return [*findings, *classes(found.wanted, found.manifest.class_counts)]
    if isinstance(found.wanted.location, RemoteStore):
        findings += guarded("checksums", lambda: first_shard(found.wanted), 300)
    elif quick:
        findings.append(ok("checksums", "left out (--quick)"))
    else:
        findings += guarded("checksums", lambda: checksums(found.wanted, skip, show), CHECKSUM_SECONDS + 60)
    findings += guarded("images", lambda: images(found.wanted, 0 if not skip else config.data.max_skipped), 300)
    return [*findings, *classes(found.wanted, found.manifest.class_counts)]


def shards(wanted: ShardSelection, skip: bool) -> list[Finding]:
    """Whether all are there, with their sizes. skip: data.on_error=skip."""
    if isinstance(wanted.location, RemoteStore):
        return []
    wrong = []
    for shard in wanted.shards:
        try:
            size = (wanted.location / shard.name).stat().st_size
            if size != shard.bytes:
                wrong.append(f"{shard.name} has {size:,} bytes, its manifest says {shard.bytes:,}")
        except OSError as error:
            wrong.append(f"{shard.name}: {error.strerror}")
    count = f"{len(wanted.shards):,} shard(s)"
    return [_judged("shards", wrong, count, f"{count} are there, with their sizes", skip)]


def checksums(wanted: ShardSelection, skip: bool, show: bool, seconds: float = CHECKSUM_SECONDS) -> list[Finding]:
    """Whether every shard has the manifest's sha256, as far as the time allows. show: progress."""
    assert isinstance(wanted.location, Path)
    wrong, done, size, start = list[str](), 0, 0, time.monotonic()
    for shard in track(wanted.shards, len(wanted.shards), "checksums", "shards", enabled=show):
        if time.monotonic() - start > seconds:
            break
        with (wanted.location / shard.name).open("rb") as file:
            if not is_intact(file, shard.bytes, shard.sha256):
                wrong.append(f"{shard.name} is damaged: its sha256 is not the manifest's")
        done, size = done + 1, size + shard.bytes
    took = time.monotonic() - start
    good = f"{done:,} shard(s) are as the manifest says ({shown_bytes(size / max(took, 1e-6))}/s)"
    if not wrong and done < len(wanted.shards):
        text = f"only {done:,} of {len(wanted.shards):,} shards were read in {shown_seconds(took)}"
        return [warn("checksums", text, "a slow disk: copy the data set nearer, or run `distgan prepare ... --verify`")]
    return [_judged("checksums", wrong, f"{done:,} shard(s)", good, skip)]


def _judged(what: str, wrong: list[str], count: str, good: str, skip: bool) -> Finding:
    if not wrong:
        return ok(what, good)
    text = f"{len(wrong):,} of {count}: {wrong[0]}" + (" ..." if len(wrong) > 1 else "")
    if skip:
        return warn(what, text, "their bad images will be skipped (data.on_error=skip)")
    return fail(what, text, "copy them again, make the data set again, or set data.on_error=skip")


def first_shard(wanted: ShardSelection) -> list[Finding]:
    """Fetches one shard from a URL, and says how long all of them would take."""
    assert isinstance(wanted.location, RemoteStore)
    shard, start = wanted.shards[0], time.monotonic()
    with wanted.location.open(shard.name, shard.bytes, shard.sha256):
        seconds = max(time.monotonic() - start, 1e-6)
    total = sum(item.bytes for item in wanted.shards) * seconds / shard.bytes
    text = f"{shard.name} came whole at {shown_bytes(shard.bytes / seconds)}/s; all shards, one after another:"
    return [ok("checksums", f"{text} {shown_seconds(total)}; the others are checked when they are read")]


def images(wanted: ShardSelection, skip: int) -> list[Finding]:
    """Whether the first ones can be decoded, and have the manifest's size."""
    try:
        found = first_images(wanted, FIRST, skip)
    except DataError as error:
        return [fail("images", str(error), "make the data set again, or set data.on_error=skip")]
    return [ok("images", f"the first {len(found)} can be decoded, {wanted.size}x{wanted.size} RGB")]


def classes(wanted: ShardSelection, counts: Mapping[str, int]) -> list[Finding]:
    """Whether one is empty or very rare. counts: images of all classes of the manifest."""
    even = wanted.total / len(wanted.classes)
    few = [f"{name} has {counts[name]:,}" for name in wanted.classes if counts[name] < RARE * even]
    if few:
        text = f"{', '.join(few[:8])}{' ...' if len(few) > 8 else ''} of {wanted.total:,} images"
        return [warn("classes", text, "G will hardly learn them: add images, or choose others with data.classes")]
    least, most = min(counts[name] for name in wanted.classes), max(counts[name] for name in wanted.classes)
    each = f"{most:,} images" if least == most else f"{least:,} to {most:,} images"
    return [ok("classes", f"{len(wanted.classes)}, {each} each")]
