"""The keys of the configuration with the values that can be listed, for a shell that completes them."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args, get_origin

from distgan.config.keys import alternatives, walk
from distgan.config.schema import Config


class Candidate(NamedTuple):
    """A key that can be given as KEY=VALUE."""

    key: str
    meaning: str
    """The first sentence of its help, without the full stop."""
    values: tuple[str, ...]
    """Those of a choice or a switch; none for numbers, paths and other texts."""


def candidates() -> list[Candidate]:
    """All keys in the order of `distgan train --help`."""
    meanings: dict[str, str] = {}
    values: dict[str, dict[str, None]] = {}
    for key, field in walk(Config):
        meanings[key] = meanings.get(key) or _first_sentence(field.description or "")
        values.setdefault(key, {}).update(dict.fromkeys(_listed(field.annotation)))
    return [Candidate(key, meaning, tuple(values[key])) for key, meaning in meanings.items()]


def _listed(annotation: object) -> list[str]:
    """The values of a type that can be listed."""
    found: list[str] = []
    for kind in alternatives(annotation):
        if get_origin(kind) is Literal:
            found += map(str, get_args(kind))
        elif kind is bool:
            found += ["true", "false"]
    return found


def _first_sentence(text: str) -> str:
    return " ".join(text.split()).partition(". ")[0].partition("; ")[0].removesuffix(".")
