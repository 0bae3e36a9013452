"""Scores and the protocol that they were made by; only scores of one protocol are compared.

In: values by name. Out: JSON and back, and differences. Two numbers that were made in two ways are no comparison, so
`compare` refuses them and names the first thing that differs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError

from distgan.config.messages import first_mistake
from distgan.utils.errors import QualityError
from distgan.utils.files import atomic_path
from distgan.utils.safe_io import printable, read_bytes

LIMIT = 1 << 20  # bytes of a file of scores, which has about 2,000 and the names of the classes


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Protocol(_Model):
    """How the scores were made: all that two scores must share to be compared."""

    extractor: Literal["efficientnet_lite0", "inception", "none"]
    """Network whose features are compared; none: only what can be told from the shapes' pixels."""
    extractor_digest: str | None
    """sha256 of the file with its weights."""
    resize: PositiveInt | None
    """Pixels a side to which the extractor brings an image."""
    precision: Literal["no", "bf16"]
    """Of the features: float32 or bf16."""
    count: PositiveInt
    """Generated images."""
    seeds: str
    """Their seeds; the class of a seed is seed % number of classes."""
    reference_digest: str
    """Digest of the manifest of the real images."""
    reference_split: str
    """train or test."""
    reference_classes: tuple[str, ...]
    """Classes of which real images are taken."""
    reference_count: PositiveInt | None
    """Real images."""
    manifold_k: PositiveInt | None
    """The k of precision and recall."""
    density_k: PositiveInt | None
    """The k of density and coverage."""
    version: PositiveInt
    """Of the code that computes the values."""


class Scores(_Model):
    """What one generator was found to be worth."""

    protocol: Protocol
    values: dict[str, float]
    """By name (`names.BETTER`)."""
    spreads: dict[str, float]
    """Standard deviation of a value over ten parts of the images, where it has one."""
    real_values: dict[str, float]
    """The floor: the same values of as many other real images; empty where the data set has too few."""
    images_seen: NonNegativeInt
    """Real images that D had seen."""
    weights: Literal["ema", "raw"]
    """ema: averaged weights; raw: those of the last step."""
    weight_digest: str
    """Digest of the generator's weights."""


def compare(first: Scores, second: Scores) -> dict[str, float]:
    """second - first, by name. Raises QualityError naming the first thing in which the protocols differ."""
    check_same(first.protocol, second.protocol)
    return {name: value - first.values[name] for name, value in second.values.items() if name in first.values}


def check_same(first: Protocol, second: Protocol) -> None:
    """Raises QualityError naming the first thing in which they differ."""
    for field in Protocol.model_fields:
        one, other = getattr(first, field), getattr(second, field)
        if one != other:
            raise QualityError(f"the scores cannot be compared: {field} {_shown(one)} against {_shown(other)}")


def save_scores(path: Path, scores: Scores) -> None:
    """Writes JSON, atomically. Raises QualityError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(scores.model_dump_json(indent=1) + "\n")
    except OSError as error:
        raise QualityError(f"{path} cannot be written: {error.strerror or error}") from None


def load_scores(path: Path) -> Scores:
    """Reads what `save_scores` wrote. Raises QualityError if it is missing, damaged or something else."""
    try:
        return Scores.model_validate_json(read_bytes(path, LIMIT))
    except ValidationError as error:
        raise QualityError(f"{path} holds no scores: {first_mistake(error)}; `distgan evaluate` makes them") from None
    except OSError as error:
        raise QualityError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise QualityError(f"{path} holds no scores: {error}") from None


def _shown(value: object) -> str:
    """A value of a protocol, short: digests by their beginning."""
    if isinstance(value, tuple):
        value = ", ".join(map(str, value))
    return printable(str(value), 60)
