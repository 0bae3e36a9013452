"""What `distgan prepare` would take from a source, found by reading all of it and writing nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

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


def survey(request: Request, progress: bool = True) -> Survey:
    """Reads all images that a request asks for. Raises DataError where `prepare` would."""
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
    return Survey(offer, counts, int((~good).sum()), sizes, notes)
