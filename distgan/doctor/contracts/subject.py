"""The implementation that is checked: its kind, its class, and its section of a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import ValidationError, create_model

from distgan.config.base import Frozen
from distgan.config.messages import config_mistakes
from distgan.config.registry import REGISTRIES, TYPED, Registry
from distgan.utils.errors import ConfigError
from distgan.utils.names import nearest_name
from distgan.utils.safe_io import printable

WITHIN = {  # what comes with distgan, has no section of a recipe to itself, and works only inside of distgan
    "metric": "every evaluation computes it by itself",
    "controller": "a section of its own switches it on, and `controllers` does not name it",
}
OF_A_RUN = {("tracker", "wandb"): "it belongs to a run, with the section wandb"}


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
        registry = self.registry
        place = registry.key.removesuffix(f".{registry.choice}").split(".")
        return validated_at(place, section_type, self.section(**common))


def validated_at(place: Sequence[str], section_type: Any, section: Mapping[str, Any]) -> Any:
    """A section of the configuration. Raises Broken with the sentence that a recipe with this section gets.

    place: the keys that lead to it, such as ("loss", "penalty").
    """
    tree, model = section, section_type
    for key in reversed(place):
        tree, model = {key: tree}, create_model("Place", **{key: (model, ...)})  # type: ignore[call-overload]
    try:
        found = model.model_validate(tree, context=TYPED.context)
    except ValidationError as error:
        raise Broken(config_mistakes(error, 1)[0]) from None
    for key in place:
        found = getattr(found, key)
    return found


def find_subject(name: str, kind: str | None, options: Mapping[str, Any]) -> Subject:
    """The implementation of a name. kind: None: recognised by its Settings and attributes. Raises ConfigError."""
    candidates = [REGISTRIES[kind]] if kind else list(REGISTRIES.values())
    registry = candidates[0] if ":" in name else registry_of(name, candidates)
    check_alone(name, registry)
    try:
        if name not in registry.entries:
            registry.admit(name, TYPED)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    target = registry.load(name)
    return Subject(registry if kind or ":" not in name else recognise(target, name), name, target, options)


def registry_of(name: str, candidates: Sequence[Registry]) -> Registry:
    """The one registry that has a name. Raises ConfigError where there is none or several."""
    known = [registry for registry in candidates if name in registry.names()]
    if len(known) == 1:
        return known[0]
    if known:
        several = " and ".join(registry.kind for registry in known)
        article = "an" if several[0] in "aeiou" else "a"
        raise ConfigError(f"{name} is {article} {several}: give --kind {'|'.join(each.kind for each in known)}")
    kinds = [] if len(candidates) == 1 else [*REGISTRIES]
    near = nearest_name(printable(name), [*kinds, *(each for registry in candidates for each in registry.names())])
    hint = f"nearest: {near}; " if near else ""
    raise ConfigError(f"{printable(name)} is no name; {hint}`distgan check` lists them, or give package.module:Name")


def check_alone(name: str, registry: Registry) -> None:
    """Raises ConfigError for what comes with distgan and cannot be checked by itself."""
    reason = OF_A_RUN.get((registry.kind, name)) or WITHIN.get(registry.kind)
    if reason and name in registry.entries:
        raise ConfigError(
            f"{name} comes with distgan: {reason}, so it cannot be checked alone; for a {registry.kind} of your own "
            "give package.module:Name"
        )


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
