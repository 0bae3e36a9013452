"""The text of `distgan train --help`: every key with its rule, default and meaning."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from pydantic import PositiveInt
from pydantic.fields import FieldInfo

from distgan.config.keys import alternatives, flatten, show_value, walk
from distgan.config.schema import Config

NAMES = {"Path": "path", "str": "text", "Reference": "module:Name", "dict": "{key: value}"}  # of types


def help_text() -> str:
    """Two lines for each key: `key  <rule>  [default]`, then its meaning."""
    fields: dict[str, list[FieldInfo]] = {}
    for key, field in walk(Config):
        fields.setdefault(key, []).append(field)
    lines, defaults = [], flatten(Config().model_dump())
    for key, variants in fields.items():
        rule = " | ".join(dict.fromkeys(map(_rule, variants)))
        usual = [show_value(defaults[key])] if key in defaults else []
        known = [_default(each) for each in variants if not each.is_required()]
        shown = " | ".join(dict.fromkeys([*usual, *known])) if usual or known else "required"
        lines.append(f"  {key}  <{rule}>  [{shown}]")
        lines.append(f"      {next(each.description for each in variants if each.description).replace(chr(10), ' ')}")
    return "\n".join(lines)


def _rule(field: FieldInfo) -> str:
    """The accepted types and limits: `int >= 1`, `auto | off | on`."""
    parts = []
    for kind in alternatives(field.annotation):
        if get_origin(kind) is Literal:
            parts += [str(value) for value in get_args(kind)]
        elif kind is type(None):
            parts.append("null")
        elif get_origin(kind) is tuple:
            parts.append("number,number" if get_args(kind)[0] is PositiveInt else "name,name")
        else:
            parts.append(NAMES.get(kind.__name__, kind.__name__))
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    limits = [
        f"{signs[name]} {getattr(rule, name)}"
        for rule in _metadata(field)
        for name in signs
        if getattr(rule, name, None) is not None
    ]
    return " | ".join(parts) + (f" {' and '.join(limits)}" if limits else "")


def _default(field: FieldInfo) -> str:
    return show_value(field.get_default(call_default_factory=True))


def _metadata(field: FieldInfo) -> list[Any]:
    """The limits of a field and of its alternatives."""
    nested = [rule for part in get_args(field.annotation) for rule in getattr(part, "__metadata__", ())]
    flat: list[Any] = []
    for rule in [*field.metadata, *nested]:
        flat += rule.metadata if isinstance(rule, FieldInfo) else [rule]
    return flat
