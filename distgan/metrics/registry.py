"""The names of the values, and whether lower or higher is better.

Only Inception's values have the names of the papers (fid, kid, inception_score). The values of another extractor are
other numbers and carry its name.
"""

from __future__ import annotations

import difflib
from typing import Literal

from distgan.config.choices import EXTRACTORS, METRICS
from distgan.config.registry import short_name
from distgan.metrics.distances import Score
from distgan.utils.errors import QualityError
from distgan.utils.safe_io import printable

Direction = Literal["lower", "higher"]

OWN: dict[str, Score] = {name: METRICS.load(name) for name in METRICS.entries}
BUILT_IN = {name: score for name, score in OWN.items() if not score.only_with}
"""Those of every extractor."""
PAPER_NAMES = {name: score.paper for name, score in BUILT_IN.items() if score.paper}
SHAPES = ("recognised", "sharp", "classes", "colours", "places", "balance", "right_class")


def full_name(value: str, extractor: str) -> str:
    """A value's name with an extractor: fd, efficientnet_lite0 -> fd_efficientnet_lite0; fd, inception -> fid.

    Of a class from outside only its own name: mylab.features:Dino -> fd_Dino.
    """
    if extractor == "inception" and value in PAPER_NAMES:
        return PAPER_NAMES[value]
    return f"{short_name(value)}_{short_name(extractor)}"


def scores_of(extractor: str) -> dict[str, Score]:
    """distgan's own scores by that extractor's features, by short name; none without an extractor."""
    return {name: score for name, score in OWN.items() if extractor != "none" and score.only_with in ("", extractor)}


def directions_of(extractor: str) -> dict[str, Direction]:
    """Whether lower or higher values are better, of distgan's own scores by that extractor's features, by full name."""
    return {full_name(value, extractor): score.better for value, score in scores_of(extractor).items()}


BETTER: dict[str, Direction] = {
    name: direction for extractor in EXTRACTORS.entries for name, direction in directions_of(extractor).items()
} | {f"shapes_{value}": "higher" for value in SHAPES}


def better(name: str) -> Direction:
    """Whether lower or higher values of this name are better. Raises QualityError for an unknown name."""
    if name not in BETTER:
        nearest = difflib.get_close_matches(name, BETTER, n=1, cutoff=0)[0]
        raise QualityError(f"there is no value {printable(name)}; nearest: {nearest}")
    return BETTER[name]
