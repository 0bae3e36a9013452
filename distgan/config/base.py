"""The building blocks of the configuration: frozen models, lists of names, choices, and keys free to change.

A resumed run may change the fields marked `FREE`; any other change is refused (`load.resume_changes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, PlainSerializer, PositiveInt, Tag

from distgan.config.yaml_loader import plain_value
from distgan.utils.names import split_names
from distgan.utils.paths import shown_path, storable_path

Probability = Annotated[float, Field(ge=0, lt=1)]
FREE: dict[str, Any] = {"resume": "free"}  # json_schema_extra of a field that a resumed run may change


def free(default: Any) -> Any:
    """A field that a resumed run may change."""
    return Field(default=default, json_schema_extra=FREE)


def _names(value: Any) -> Any:
    return split_names(value) if isinstance(value, str) else value


def _numbers(value: Any) -> Any:
    """Splits text such as "64,32" into numbers; one number is a list of one."""
    if isinstance(value, int):
        return (value,)
    return tuple(map(plain_value, split_names(value))) if isinstance(value, str) else value


def _several(value: Any) -> Any:
    """Splits text such as "64,32" into numbers; text of one number is a number."""
    if not isinstance(value, str):
        return value
    numbers = _numbers(value)
    return numbers[0] if len(numbers) == 1 else numbers


def _path(value: Any) -> Any:
    return storable_path(value) if isinstance(value, (str, Path)) else value


def default_choice(key: str, default: str) -> BeforeValidator:
    """Selects the variant `default` of a section that does not set `key`."""
    return BeforeValidator(lambda value: {key: default, **value} if isinstance(value, Mapping) else value)


AS_TEXT = PlainSerializer(shown_path, return_type=str, when_used="json")
LocalPath = Annotated[Path, BeforeValidator(_path), AS_TEXT]
"""A path on this machine, with `~` expanded; not empty."""
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Widths = Annotated[tuple[PositiveInt, ...], BeforeValidator(_numbers), Field(min_length=1, max_length=12)]
WidthOrWidths = Annotated[
    Annotated[PositiveInt, Tag("number")]
    | Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=12), Tag("widths")],
    Discriminator(lambda value: "widths" if isinstance(value, (list, tuple)) else "number"),
    BeforeValidator(_several),
]
"""One number for all; or several, also as text such as "64,32"."""


class Frozen(BaseModel):
    """An unchangeable model that refuses unknown keys, NaN and infinity; docstrings under fields are their help."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )
