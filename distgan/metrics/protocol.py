"""Scores and their protocol; only scores of the same protocol are compared.

In: values by name. Out: JSON and back, and differences. `compare` refuses scores that were computed in different ways,
and names the first difference.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from distgan.config.messages import first_mistake
from distgan.metrics.registry import Direction, better, directions_of
from distgan.utils.errors import QualityError
from distgan.utils.files import atomic_path
from distgan.utils.safe_io import printable, read_bytes

MAX_BYTES = 1 << 20  # of a file of scores, which has about 2,000 and the names of the classes


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Protocol(_Model):
    """The conditions of a measurement; scores are comparable if they share all of them."""

    extractor: str
    """Network whose features are compared; none: only the scores from the shapes' pixels."""
    extractor_options: dict[str, Any] = {}
    """Settings of an extractor from outside."""
    extractor_digest: str | None
    """sha256 of the file with its weights."""
    resize: PositiveInt | None
    """Pixels a side to which the extractor brings an image."""
    precision: Literal["no", "bf16"]
    """Precision of the features: no (float32) or bf16."""
    count: PositiveInt
    """Number of generated images."""
    seeds: str
    """Seeds of the generated images; the class of a seed is seed % number of classes, if `class_counts` is null."""
    reference_digest: str
    """Digest of the manifest of the real images."""
    channels: Literal[1, 3] = 3
    """Of the images: 1 (gray, which the extractor sees as RGB with three equal channels), or 3. Only written if 1."""
    reference_split: str
    """train or test."""
    reference_classes: tuple[str, ...]
    """Classes of the real images."""
    class_counts: tuple[NonNegativeInt, ...] | None = None
    """Images of each of them, if they differ: then the seeds' classes are as many (utils/shares.py)."""
    truncation: PositiveFloat | None = None
    """Limit of the latent numbers (`Generator.sample`). Only written if there is one."""
    reference_count: PositiveInt | None
    """Number of real images."""
    manifold_k: PositiveInt | None
    """k of precision and recall."""
    density_k: PositiveInt | None
    """k of density and coverage."""
    version: PositiveInt
    """Version of the code that computes the values."""

    @model_serializer(mode="wrap")
    def _without_what_is_usual(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = serialize(self)
        usual = {"channels": 3, "class_counts": None, "truncation": None}
        return {name: value for name, value in content.items() if name not in usual or value != usual[name]}

    def truncated(self, truncation: float | None) -> Protocol:
        """The same for latents within [-truncation, truncation]; None: no limit."""
        return self.model_copy(update={"truncation": None if truncation is None else float(truncation)})

    def key(self, *leave_out: str) -> dict[str, Any]:
        """All that values of real images depend on, for a cache; the same as before there were later fields."""
        unused = () if self.extractor_options else ("extractor_options",)
        return self.model_dump(mode="json", exclude={*leave_out, *unused, "class_counts", "truncation"})


class FurtherMetric(_Model):
    """The metric of a value that distgan itself does not compute."""

    name: str
    options: dict[str, Any]
    better: Literal["lower", "higher"]


class Scores(_Model):
    """The quality of one generator."""

    protocol: Protocol
    values: dict[str, float]
    """Values by name (see `registry.BETTER`)."""
    further: dict[str, FurtherMetric] = {}
    """The metrics of the values that distgan itself does not compute."""
    spreads: dict[str, float]
    """Standard deviations over ten parts of the images, for the values that have one."""
    real_values: dict[str, float]
    """The floor: the same values of as many other real images; empty if the data set has too few."""
    images_seen: NonNegativeInt
    """Real images that D had seen."""
    weights: Literal["ema", "raw"]
    """ema: averaged weights; raw: those of the last step."""
    weight_digest: str
    """Digest of the generator's weights."""

    def better(self, name: str) -> Direction:
        """Whether lower or higher values of this name are better. Raises QualityError for an unknown name."""
        if name in self.further:
            return self.further[name].better
        own = directions_of(self.protocol.extractor)
        return own[name] if name in own else better(name)


def compare(first: Scores, second: Scores) -> dict[str, float]:
    """second - first by name. Raises QualityError that names the first difference of the protocols."""
    check_same(first.protocol, second.protocol)
    both = [name for name in second.values if name in first.values]
    return {
        name: second.values[name] - first.values[name]
        for name in both
        if first.further.get(name) == second.further.get(name)
    }


def check_same(first: Protocol, second: Protocol) -> None:
    """Raises QualityError that names the first difference of two protocols."""
    for field in Protocol.model_fields:
        one, other = getattr(first, field), getattr(second, field)
        if one != other:
            raise QualityError(f"the scores cannot be compared: {field} {_shown(one)} against {_shown(other)}")


def save_scores(path: Path, scores: Scores) -> None:
    """Writes JSON, atomically. Raises QualityError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(scores.model_dump_json(indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise QualityError(f"{path} cannot be written: {error.strerror or error}") from None


def load_scores(path: Path) -> Scores:
    """Reads a file of `save_scores`. Raises QualityError if it is missing, damaged or another kind of file."""
    try:
        return Scores.model_validate_json(read_bytes(path, MAX_BYTES))
    except ValidationError as error:
        raise QualityError(f"{path} holds no scores: {first_mistake(error)}; `distgan evaluate` makes them") from None
    except OSError as error:
        raise QualityError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise QualityError(f"{path} holds no scores: {error}") from None


def _shown(value: object) -> str:
    """A value of a protocol, cut to 60 characters."""
    if isinstance(value, tuple):
        value = ", ".join(map(str, value))
    return printable(str(value), 60)
