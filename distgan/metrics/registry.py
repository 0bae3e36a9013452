"""The names of the values, and whether lower or higher is better.

Only Inception's values have the names of the papers (fid, kid, inception_score). The values of another extractor are
other numbers and carry its name.
"""

from __future__ import annotations

import difflib
from typing import Literal

from distgan.utils.errors import QualityError
from distgan.utils.safe_io import printable

Direction = Literal["lower", "higher"]

DIRECTIONS: dict[str, Direction] = {
    "fd": "lower",
    "kd": "lower",
    "is": "higher",
    "precision": "higher",
    "recall": "higher",
    "density": "higher",
    "coverage": "higher",
}
PAPER_NAMES = {"fd": "fid", "kd": "kid", "is": "inception_score"}
SHAPES = ("recognised", "sharp", "classes", "colours", "places", "balance", "right_class")


def full_name(value: str, extractor: str) -> str:
    """A value's name with an extractor: fd, efficientnet_lite0 -> fd_efficientnet_lite0; fd, inception -> fid."""
    if extractor == "inception" and value in PAPER_NAMES:
        return PAPER_NAMES[value]
    return f"{value}_{extractor}"


BETTER: dict[str, Direction] = {
    full_name(value, extractor): direction
    for extractor in ("efficientnet_lite0", "inception")
    for value, direction in DIRECTIONS.items()
} | {f"shapes_{value}": "higher" for value in SHAPES}


def better(name: str) -> Direction:
    """Whether lower or higher values of this name are better. Raises QualityError for an unknown name."""
    if name not in BETTER:
        nearest = difflib.get_close_matches(name, BETTER, n=1, cutoff=0)[0]
        raise QualityError(f"there is no value {printable(name)}; nearest: {nearest}")
    return BETTER[name]
