"""Settings that are a number, or a schedule over the real images that D has seen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, NonNegativeFloat, PositiveFloat, PositiveInt, Tag

from distgan.config.base import Frozen


class Schedule(Frozen):
    """A number that moves from `start` to `end` while D sees `images` real images, and then stays there."""

    start: NonNegativeFloat
    """Value at the first image."""
    end: NonNegativeFloat
    """Value from `images` on."""
    images: PositiveInt
    """Length of the schedule, real images."""
    shape: Literal["linear", "cosine"] = "cosine"
    """Shape of the curve: linear, or half a cosine (slow at both ends)."""


def at(value: float | Schedule, images: int) -> float:
    """A number or a schedule after D has seen `images` real images."""
    if not isinstance(value, Schedule):
        return value
    progress = min(images / value.images, 1.0)
    share = progress if value.shape == "linear" else (1 - math.cos(math.pi * progress)) / 2
    return value.start + (value.end - value.start) * share


def largest(value: float | Schedule) -> float:
    """The largest value of a number or a schedule."""
    return max(value.start, value.end) if isinstance(value, Schedule) else value


def _form(value: Any) -> str:
    return "schedule" if isinstance(value, (Mapping, Schedule)) else "number"


def _not_always_zero(value: float | Schedule) -> float | Schedule:
    if largest(value) == 0:
        raise ValueError("start and end are both 0; one of them must be above 0")
    return value


def _below_one(value: float | Schedule) -> float | Schedule:
    if largest(value) >= 1:
        raise ValueError(f"it reaches {largest(value):g}; it must stay below 1, such as 0.999")
    return value


def _at_most_one(value: float | Schedule) -> float | Schedule:
    if largest(value) > 1:
        raise ValueError(f"it reaches {largest(value):g}; it must stay at or below 1")
    return value


_Schedule = Annotated[Schedule, Tag("schedule")]
Scheduled = Annotated[
    Annotated[PositiveFloat, Tag("number")] | _Schedule, Discriminator(_form), AfterValidator(_not_always_zero)
]
"""A number above 0, or a schedule: {start: 2e-4, end: 5e-5, images: 4_000_000}."""
ScheduledWeight = Annotated[Annotated[NonNegativeFloat, Tag("number")] | _Schedule, Discriminator(_form)]
"""A number from 0 on, or a schedule."""
ScheduledShare = Annotated[
    Annotated[float, Field(ge=0, le=1), Tag("number")] | _Schedule, Discriminator(_form), AfterValidator(_at_most_one)
]
"""A number from 0 to 1, or a schedule."""
ScheduledDecay = Annotated[
    Annotated[float, Field(ge=0, lt=1), Tag("number")] | _Schedule, Discriminator(_form), AfterValidator(_below_one)
]
"""A number from 0 on and below 1, or a schedule."""
