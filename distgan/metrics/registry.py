"""What the values are called, and whether lower or higher is better: one table.

Only Inception's values have the names of the papers (fid, kid, inception_score); those of another extractor are other
numbers and carry its name.
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
OF_THE_PAPERS = {"fd": "fid", "kd": "kid", "is": "inception_score"}
SHAPES = ("recognised", "sharp", "classes", "colours", "places", "balance", "right_class")


def full_name(value: str, extractor: str) -> str:
    """fd, efficientnet_lite0 -> fd_efficientnet_lite0; fd, inception -> fid."""
    if extractor == "inception" and value in OF_THE_PAPERS:
        return OF_THE_PAPERS[value]
    return f"{value}_{extractor}"


BETTER: dict[str, Direction] = {
    full_name(value, extractor): direction
    for extractor in ("efficientnet_lite0", "inception")
    for value, direction in DIRECTIONS.items()
} | {f"shapes_{value}": "higher" for value in SHAPES}


def better(name: str) -> Direction:
    """Whether a value is better when lower or when higher. Raises QualityError for a name that is no value's."""
    if name not in BETTER:
        nearest = difflib.get_close_matches(name, BETTER, n=1, cutoff=0)[0]
        raise QualityError(f"there is no value {printable(name)}; nearest: {nearest}")
    return BETTER[name]
