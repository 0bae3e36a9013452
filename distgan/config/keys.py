"""The dotted keys of the configuration (`train.batch_size`) and how their values are shown."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NewType, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from distgan.config.yaml_loader import Kinds
from distgan.utils.names import join_names
from distgan.utils.safe_io import printable


def walk(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yields every key of a model with its field, sections expanded.

    A key that several variants of a section share is yielded once for each. A number that may be a schedule is yielded
    as a key, and then its section is expanded as well.
    """
    for attribute, field in model.model_fields.items():
        name, accepted = field.alias or attribute, alternatives(field.annotation)
        if not all(map(is_section, accepted)):
            yield prefix + name, field
        for section in filter(is_section, accepted):
            yield from walk(section, f"{prefix}{name}.")


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"train": {"images": 1}} -> {"train.images": 1}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def alternatives(annotation: Any) -> list[Any]:
    """The types that a field accepts: the members of a union, without their metadata."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return [item for part in get_args(annotation) for item in alternatives(part)]
    if origin is not None and hasattr(annotation, "__metadata__"):
        return alternatives(get_args(annotation)[0])
    return [annotation]


def is_section(kind: Any) -> bool:
    """Whether a type is a pydantic model."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def kinds_of(model: type[BaseModel]) -> Kinds:
    """What the keys of a model take."""
    accepted: dict[str, set[Any]] = {}
    for key, field in walk(model):
        accepted.setdefault(key, set()).update(map(_kind, alternatives(field.annotation)))
    texts = {key: None in kinds for key, kinds in accepted.items() if kinds <= {str, tuple, Path, None}}
    names, paths, switches = (
        frozenset(key for key, kinds in accepted.items() if kind in kinds) for kind in (tuple, Path, bool)
    )
    whole = frozenset(key for key, kinds in accepted.items() if int in kinds and float not in kinds)
    return Kinds(texts, names, paths, switches, whole)


def _kind(accepted: Any) -> Any:
    """str for text, tuple for names, list for other lists, Path for a path or URL, None for null; other types stay."""
    if accepted is type(None):
        return None
    if get_origin(accepted) is tuple:
        return tuple if get_args(accepted)[0] is str else list
    return Path if isinstance(accepted, NewType) and accepted.__name__ == "URL" else accepted


def show_value(value: Any) -> str:
    """A value as it is written on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return printable(join_names(map(_listed, value)) if isinstance(value, tuple) else str(value))


def _listed(item: Any) -> str:
    """An item of a list; a section that chooses by name alone is its name."""
    section = item.model_dump() if isinstance(item, BaseModel) else item
    if isinstance(section, dict) and {key for key, value in section.items() if value != {}} == {"name"}:
        return str(section["name"])
    return str(section)
