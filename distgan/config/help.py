"""Every key with its rule, default and meaning: the text of `distgan train --help`, and of the site's reference."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import PositiveInt
from pydantic.fields import FieldInfo

from distgan.config.base import FREE
from distgan.config.keys import alternatives, flatten, show_value, walk
from distgan.config.schema import Config

NAMES = {"Path": "path", "str": "text", "Reference": "module:Name", "dict": "{key: value}"}  # of types


class KeyHelp(NamedTuple):
    """What is known of a key."""

    key: str
    rule: str
    default: str
    """As it is written on the command line; `required` where there is none."""
    meaning: str
    free: bool
    """Whether a resumed run may change it."""
    values: tuple[str, ...]
    """Those of a choice or a switch; none for numbers, paths and other texts."""


def help_text() -> str:
    """Two lines for each key: `key  <rule>  [default]`, then its meaning."""
    return "\n".join(f"  {each.key}  <{each.rule}>  [{each.default}]\n      {each.meaning}" for each in key_helps())


def key_helps() -> list[KeyHelp]:
    """Every key of the configuration, in the order of the sections; the variants of a section share their keys."""
    fields: dict[str, list[FieldInfo]] = {}
    for key, field in walk(Config):
        fields.setdefault(key, []).append(field)
    defaults = flatten(Config().model_dump())
    return [_key_help(key, variants, defaults) for key, variants in fields.items()]


def _key_help(key: str, variants: list[FieldInfo], defaults: dict[str, Any]) -> KeyHelp:
    """variants: the field in each variant that has the key; defaults: of the default variants, by key."""
    rule = " | ".join(dict.fromkeys(map(_rule, variants)))
    usual = [show_value(defaults[key])] if key in defaults else []
    known = [_default(each) for each in variants if not each.is_required()]
    shown = " | ".join(dict.fromkeys([*usual, *known])) if usual or known else "required"
    meaning = next(each.description for each in variants if each.description)
    free = all(each.json_schema_extra == FREE for each in variants)
    values = tuple(dict.fromkeys(value for each in variants for value in _values(each)))
    return KeyHelp(key, rule, shown, meaning.replace("\n", " "), free, values)


def _values(field: FieldInfo) -> list[str]:
    """The values of a field that can be listed."""
    found: list[str] = []
    for kind in alternatives(field.annotation):
        if get_origin(kind) is Literal:
            found += map(str, get_args(kind))
        elif kind is bool:
            found += ["true", "false"]
    return found


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
