"""What `distgan prepare` would take from a source, found by reading all of it and writing nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distgan.data.prepare import Request, check_totals, chosen_rows, make_offer
from distgan.data.shards.writer import in_threads
from distgan.data.sources.base import Offer
from distgan.utils.counter_rng import IntArray
from distgan.utils.progress import track


@dataclass(frozen=True)
class Survey:
    """What would be taken."""

    offer: Offer
    counts: dict[str, int]
    """Images per class."""
    left_out: int
    """Images that cannot be read."""
    sizes: Counter[tuple[int, int]]
    """Images by width and height, before they are fitted."""
    notes: list[str]
    """What the source says of its images."""
    kept: list[Path]
    """The directories in which the source has put files, such as downloads."""


def survey(request: Request, progress: bool = True) -> Survey:
    """Reads all images that a request asks for. Raises DataError where `prepare` would."""
    keeps: tuple[Path, ...] = getattr(request.source, "keeps", ())
    before = [_files(path) for path in keeps]
    offer = make_offer(request)
    images = offer.load(progress)
    order = chosen_rows(request, images.labels)

    def task(rows: IntArray) -> list[bool]:
        return [image is not None for image in images.read(rows)]

    shown = track(in_threads(task, order), len(order), f"{offer.source} {request.split}", "images", enabled=progress)
    good = np.fromiter(shown, bool, len(order))
    totals = np.bincount(images.labels[order[good]], minlength=len(offer.classes))
    notes = [*images.notes, *images.finish()]
    check_totals(request, offer, totals)
    counts = dict(zip(offer.classes, totals.tolist(), strict=True))
    sizes = images.sizes or Counter({(offer.size, offer.size): int(good.sum())})
    kept = [path for path, files in zip(keeps, before, strict=True) if _files(path) - files]
    return Survey(offer, counts, int((~good).sum()), sizes, notes, kept)


def _files(directory: Path) -> set[tuple[Path, int]]:
    """The files below a directory, which may be missing, with their times; without hidden ones."""
    found = (path for path in directory.rglob("*") if not path.name.startswith(".") and path.is_file())
    return {(path, path.stat().st_mtime_ns) for path in found}
