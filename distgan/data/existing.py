"""What is at a target already: nothing, the data set that was asked for, or something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distgan.data.shards.manifest import MANIFEST, Manifest, load_manifest
from distgan.utils.errors import DataError
from distgan.utils.files import sha256
from distgan.utils.progress import track

OVERWRITE = "pass --overwrite to replace it, or choose another --out"


def look(out: Path, asked: dict[str, Any], overwrite: bool) -> Manifest | None:
    """The data set at `out` if it is what was asked for; None if there is nothing, or it is to be replaced.

    asked: as `Manifest.request`; None in it matches anything. Raises DataError if `out` holds anything else.
    """
    try:
        names = sorted(path.name for path in out.iterdir())
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise DataError(
            f"{out} cannot be written: it, or a directory above it, is a file; choose another --out"
        ) from None
    except OSError as error:
        raise DataError(f"{out} cannot be read: {error.strerror}; choose another --out") from None
    if not names:
        return None
    foreign = [name for name in names if name != MANIFEST and not name.endswith(".tar")]
    if MANIFEST not in names or (overwrite and foreign):
        first = (foreign or names)[0]
        raise DataError(f"{out} holds something that is not a distgan data set ({first}); choose an empty or new --out")
    if overwrite:
        return None
    found = load_manifest(out)
    made = {"layout": found.layout, **found.request}  # older data sets do not name it in their request
    for name, value in asked.items():
        before = made.get(name)
        if value is not None and before is not None and value != before:
            raise DataError(f"{out} holds a data set made with {name} = {before}, not {value}; {OVERWRITE}")
    if set(asked) != set(made):
        raise DataError(f"{out} holds a data set that was made by another request; {OVERWRITE}")
    for shard in found.shards:
        path = out / shard.name
        if not path.is_file() or path.stat().st_size != shard.bytes:
            raise _damaged(path, "it is missing or has another size than the manifest says")
    return found


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path} is damaged: {reason}; make the data set again with --overwrite")


def verify(path: Path, progress: bool = True) -> Manifest:
    """Reads every shard and compares it with the manifest. Raises DataError naming the first that differs."""
    manifest = load_manifest(path)
    for shard in track(manifest.shards, len(manifest.shards), f"verify {path}", "shards", enabled=progress):
        try:
            found = sha256(path / shard.name)
        except OSError as error:
            raise _damaged(path / shard.name, f"{error.strerror}") from None
        if found != shard.sha256:
            raise _damaged(path / shard.name, "its sha256 is not the manifest's")
    return manifest
