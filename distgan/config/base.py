"""What all parts of the configuration are made of: frozen models, numbers that may follow a schedule, choices.

Fields marked `FREE` may change when a run is resumed, every other change is refused there (see
`config_file.resume_changes`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Tag,
)

Probability = Annotated[float, Field(ge=0, lt=1)]
FREE: dict[str, Any] = {"resume": "free"}  # json_schema_extra of a field that a resumed run may change


def free(default: Any) -> Any:
    """A field that a resumed run may change."""
    return Field(default=default, json_schema_extra=FREE)


def split_commas(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def named(tag: str, default: str) -> BeforeValidator:
    """A choice among models by the key `tag`: without the key it is `default`."""
    return BeforeValidator(lambda value: {tag: default, **value} if isinstance(value, Mapping) else value)


Names = Annotated[tuple[str, ...], BeforeValidator(split_commas)]
Widths = Annotated[tuple[PositiveInt, ...], BeforeValidator(split_commas), Field(min_length=1, max_length=12)]


class Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )


class Schedule(Frozen):
    """A number that moves from `start` to `end` while D is shown `images` real images, and stays there."""

    start: NonNegativeFloat
    """Value at the first image."""
    end: NonNegativeFloat
    """Value from `images` on."""
    images: PositiveInt
    """Real images on the way."""
    shape: Literal["linear", "cosine"] = "cosine"
    """The way: straight, or half a cosine (slow at both ends)."""


def _form(value: Any) -> str:
    return "schedule" if isinstance(value, (Mapping, Schedule)) else "number"


def top(value: float | Schedule) -> float:
    """The largest value that it ever has."""
    return max(value.start, value.end) if isinstance(value, Schedule) else value


def _moves_something(value: float | Schedule) -> float | Schedule:
    if top(value) == 0:
        raise ValueError("start and end are both 0; one of them must be above 0")
    return value


def _below_one(value: float | Schedule) -> float | Schedule:
    if top(value) >= 1:
        raise ValueError(f"it reaches {top(value):g}; it must stay below 1, such as 0.999")
    return value


def _at_most_one(value: float | Schedule) -> float | Schedule:
    if top(value) > 1:
        raise ValueError(f"it reaches {top(value):g}; it must stay at or below 1")
    return value


_Schedule = Annotated[Schedule, Tag("schedule")]
Scheduled = Annotated[
    Annotated[PositiveFloat, Tag("number")] | _Schedule, Discriminator(_form), AfterValidator(_moves_something)
]
"""A number above 0, or a schedule: {start: 2e-4, end: 5e-5, images: 4_000_000}."""
ScheduledWeight = Annotated[Annotated[NonNegativeFloat, Tag("number")] | _Schedule, Discriminator(_form)]
"""The same, from 0 on."""
ScheduledShare = Annotated[
    Annotated[float, Field(ge=0, le=1), Tag("number")] | _Schedule, Discriminator(_form), AfterValidator(_at_most_one)
]
"""The same, from 0 to 1."""
ScheduledDecay = Annotated[
    Annotated[float, Field(ge=0, lt=1), Tag("number")] | _Schedule, Discriminator(_form), AfterValidator(_below_one)
]
"""The same, from 0 on and below 1."""


def at(value: float | Schedule, images: int) -> float:
    """The value of a number or a schedule when D has been shown so many real images."""
    if not isinstance(value, Schedule):
        return value
    way = min(images / value.images, 1.0)
    share = way if value.shape == "linear" else (1 - math.cos(math.pi * way)) / 2
    return value.start + (value.end - value.start) * share
