"""The implementation that is checked: its kind, its class, and its section of a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from distgan.config.base import Frozen
from distgan.config.registry import REGISTRIES, TYPED, Registry
from distgan.utils.errors import ConfigError
from distgan.utils.safe_io import printable


class Broken(Exception):
    """A part of the contract that is not kept: a sentence that says what was found, and what should be."""


class Check(NamedTuple):
    """One part of a contract."""

    name: str
    run: Callable[[], str]
    """Returns what was found, for a person. Raises Broken, or whatever the implementation raises."""


@dataclass(frozen=True)
class Subject:
    """An implementation, imported."""

    registry: Registry
    name: str
    """As a recipe writes it."""
    target: Any
    options: Mapping[str, Any]
    """Its settings, as far as they are not the default."""

    def section(self, **common: Any) -> dict[str, Any]:
        """Its section of a recipe. common: settings of its kind."""
        if self.name in self.registry.entries:
            return {self.registry.choice: self.name, **self.options, **common}
        shared = {key: value for key, value in self.options.items() if key in self.registry.base.model_fields}
        own = {key: value for key, value in self.options.items() if key not in shared}
        return {self.registry.choice: self.name, "options": own, **shared, **common}

    def check_settings(self) -> str:
        """Its Settings take what is given."""
        found = self.validated(self.registry.union(self.registry.kind))
        return ", ".join(f"{key}={value}" for key, value in found.options.items()) or "none of its own"

    def validated(self, section_type: Any, **common: Any) -> Any:
        """The section as the configuration has it. Raises Broken for wrong settings."""
        try:
            return TypeAdapter(section_type).validate_python(self.section(**common), context=TYPED.context)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"][1:])
            raise Broken(f"{place}: {first['msg']} (given: {printable(str(first['input']))})") from None


def find_subject(name: str, kind: str | None, options: Mapping[str, Any]) -> Subject:
    """The implementation of a name. kind: None: recognised by its Settings and attributes. Raises ConfigError."""
    candidates = [REGISTRIES[kind]] if kind else list(REGISTRIES.values())
    if ":" not in name:
        known = [registry for registry in candidates if name in registry.names()]
        if len(known) != 1:
            several = " and ".join(registry.kind for registry in known)
            raise ConfigError(
                f"{name} is {f'a {several}: give --kind' if known else 'no name; give package.module:Name'}"
            )
        registry = known[0]
    else:
        registry = candidates[0]
    try:
        if name not in registry.entries:
            registry.admit(name, TYPED)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    target = registry.load(name)
    return Subject(registry if kind or ":" not in name else recognise(target, name), name, target, options)


SIGNS = {  # attributes that only one kind has
    "source": ("offer",),
    "controller": ("act", "watches"),
    "tracker": ("artifact", "rewind"),
    "metric": ("better",),
    "augmentation": ("uniforms", "normals"),
    "penalty": ("on",),
    "loss": ("discriminator", "generator"),
}


def recognise(target: Any, name: str) -> Registry:
    """The registry of the kind that a class is of. Raises ConfigError."""
    settings = getattr(target, "Settings", None)
    for registry in REGISTRIES.values():
        if registry.base is not Frozen and isinstance(settings, type) and issubclass(settings, registry.base):
            return registry
    for kind, signs in SIGNS.items():
        if all(hasattr(target, sign) for sign in signs):
            return REGISTRIES[kind]
    raise ConfigError(f"what {name} is cannot be seen from its Settings; give --kind {'|'.join(REGISTRIES)}")
