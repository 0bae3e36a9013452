"""Names to implementations: one lazy registry for each kind of thing that a configuration can choose.

In: a name. Out: a class or function, imported when it is used, so that `--help` stays without torch. A name is one that
comes with distgan, one that an installed package has registered (an entry point), or `package.module:Name`.

A name is imported only under a `Trust`: names that the user has typed are imported, names in a file of somebody else
are not, unless the user trusts their module. What was imported once is known to this process from then on.
"""

from __future__ import annotations

import difflib
import functools
import operator
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Annotated, Any, NewType

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    create_model,
)
from pydantic_core import PydanticCustomError

from distgan.config.base import Frozen, default_choice
from distgan.config.outside import OUTSIDE, SECTIONS, OutsideSection, checked_settings, settings_from, trust_of
from distgan.utils.errors import ConfigError, DistganError
from distgan.utils.names import split_names
from distgan.utils.safe_io import printable

Reference = NewType("Reference", str)
"""The name of a class from outside: `package.module:Name`, or the name of an entry point."""
WRITTEN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class Trust:
    """Whose names may be imported."""

    modules: tuple[str, ...] | None = None
    """Modules, or packages with all that is in them; None: every name, since the user has typed it."""

    def covers(self, module: str) -> bool:
        """Whether a module may be imported."""
        return self.modules is None or any(f"{module}.".startswith(f"{trusted}.") for trusted in self.modules)

    @property
    def context(self) -> dict[str, Trust]:
        """The context of a pydantic validation under this trust; without it a validation imports nothing."""
        return {"trust": self}


TYPED = Trust()
UNTRUSTED = (
    "{name} does not come with distgan, and a file imports nothing by itself; if you trust this module: "
    "--trust {module} (in Python: trust=['{module}'])"
)
LOADED: dict[str, Any] = {}  # what was imported under a trust, by `package.module:Name`
EXTENDED = {"Frozen": "Settings", "Penalties": "LossSettings"}  # names of classes in distgan.extend
REGISTRIES: dict[str, Registry] = {}  # by the kind's name


@dataclass(frozen=True)
class Entry:
    """One name that comes with distgan."""

    target: str
    """`distgan.module:Name`."""
    settings: type[BaseModel] | None = None
    """Its settings, without torch; None where it has none."""


@dataclass(frozen=True)
class Registry:
    """All names of one kind."""

    kind: str
    """Such as `generator`; for sentences, `distgan check` and the documentation."""
    key: str
    """The key that chooses, such as `generator.family`."""
    group: str
    """Entry points of installed packages."""
    contract: str
    """What an implementation must be and do; printed by `distgan check` and in docs/extending.md."""
    base: type[BaseModel] = Frozen
    """Common settings: the `Settings` of every implementation is a subclass."""
    needs: tuple[str, ...] = ()
    """Attributes that an implementation has."""
    attribute: str = ""
    """Appended to an entry point's object: its Generator or Discriminator where both have one name."""
    own_chosen: bool = True
    """Whether the key chooses among distgan's own names, too; False: these are there anyway."""
    entries: dict[str, Entry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        REGISTRIES[self.kind] = self

    def add(self, name: str, target: str, settings: type[BaseModel] | None = None) -> None:
        """Adds a name that comes with distgan."""
        self.entries[name] = Entry(target, settings)

    @property
    def choice(self) -> str:
        """The key in a section: family, name or kind."""
        last = self.key.rsplit(".", 1)[-1]
        return last if last in ("family", "name", "kind") else "name"

    @property
    def settings_name(self) -> str:
        """What an implementation's Settings are a subclass of, as it is imported."""
        return f"distgan.extend.{EXTENDED.get(self.base.__name__, self.base.__name__)}"

    def names(self) -> list[str]:
        """All names that need no module: distgan's own, then those of installed packages."""
        return [*self.entries, *(name for name in _entry_points(self.group) if name not in self.entries)]

    def description(self, what: str) -> str:
        """The help of the key that chooses."""
        return f"{what}: {', '.join(self.entries)}, or package.module:Name (docs/extending.md)."

    # Validation

    def union(self, what: str, default: str | None = None) -> Any:
        """The type of a section that chooses one: the settings of every name, or a class from outside with `options`.

        what: begins the help of the key that chooses; default: the name of a section without that key.
        """
        outside = create_model(
            f"Outside{self.kind.title().replace(' ', '')}",
            __base__=(OutsideSection, self.base),
            __doc__=f"A {self.kind} from outside.",
            **{self.choice: (Reference, Field(description=self.description(what)))},  # type: ignore[call-overload]
        )
        outside.registry = self
        SECTIONS.setdefault(self.kind, outside)
        members: list[Any] = [
            Annotated[entry.settings, Tag(name)] for name, entry in self.entries.items() if entry.settings
        ]
        members.append(Annotated[outside, Tag(OUTSIDE)])  # type: ignore[valid-type]
        chosen = Discriminator(
            self._tag,
            custom_error_type="unknown_name",
            custom_error_message="unknown name",
            custom_error_context={"discriminator": self.choice, "kind": self.kind},
        )
        union: Any = Annotated[functools.reduce(operator.or_, members), chosen]
        return union if default is None else Annotated[union, default_choice(self.choice, default)]

    def sections(self, what: str) -> Any:
        """The type of a list of sections, each of which chooses one. A name alone is a section without options."""
        section = self.union(what)
        listed = tuple[section, ...]  # type: ignore[valid-type]
        return Annotated[listed, BeforeValidator(self._as_sections), AfterValidator(_different)]

    def _as_sections(self, value: Any) -> Any:
        listed = split_names(value) if isinstance(value, str) else value
        if not isinstance(listed, (list, tuple)):
            return value
        return [{self.choice: item} if isinstance(item, str) else item for item in listed]

    def _tag(self, section: Any) -> str | None:
        mapping = isinstance(section, Mapping)
        name = section.get(self.choice) if mapping else getattr(section, self.choice, None)
        if not isinstance(name, str):
            return None
        if name in self.entries:
            return name if self.entries[name].settings else None
        return OUTSIDE if ":" in name or name in _entry_points(self.group) else None

    def check_name(self, name: str, info: ValidationInfo) -> str:
        """A validator of a key that holds a name: imports a name from outside, if the validation trusts it."""
        if name not in self.entries:
            if ":" not in name and name not in _entry_points(self.group):
                raise PydanticCustomError("unknown_choice", "{rule}", {"rule": self.rule(name)})
            self.admit(name, trust_of(info))
        return name

    def admit(self, name: str, trust: Trust | None) -> Any:
        """Imports a name from outside where the trust covers it; None where there is no trust. Raises ValueError."""
        reference = self.reference(name)
        if trust is None or reference in LOADED:
            return LOADED.get(reference)
        module = reference.partition(":")[0]
        if ":" in name and not trust.covers(module):
            raise PydanticCustomError("untrusted", "{rule}", {"rule": UNTRUSTED.format(name=name, module=module)})
        LOADED[reference] = _import(reference)
        return LOADED[reference]

    def admit_of(self, section: BaseModel, trust: Trust) -> None:
        """Imports what a section names, that was read without a trust. Raises ConfigError."""
        if isinstance(section, OutsideSection):
            try:
                self.admit(self.name_of(section), trust)
            except ValueError as error:
                raise ConfigError(f"{self.key}: {error}") from None

    def rule(self, name: str) -> str:
        """What a name must be; follows a wrong one in a sentence."""
        if name in self.entries:
            return "comes with distgan and is not chosen here; give package.module:Name"
        names = [each for each in self.names() if self.own_chosen or each not in self.entries]
        close = difflib.get_close_matches(printable(name), names, n=1, cutoff=0.3)
        nearest = f"; nearest: {close[0]}" if close else ""
        known = f"one of {', '.join(names)}, or " if names else ""
        own = "" if self.own_chosen else f"; distgan's own, {', '.join(self.entries)}, are not chosen here"
        return f"must be {known}package.module:Name{nearest}{own}"

    def reference(self, name: str) -> str:
        """`package.module:Name` of a name from outside. Raises ValueError."""
        if ":" in name:
            if not WRITTEN.fullmatch(name):
                raise ValueError(f"{printable(name)} is no name of a class; write package.module:Name")
            return name
        value = _entry_points(self.group)[name]
        if not self.attribute:
            return value
        return f"{value}.{self.attribute}" if ":" in value else f"{value}:{self.attribute}"

    # Use

    def load(self, name: str) -> Any:
        """The class or function of a name. Raises ConfigError for one that was not imported under a trust."""
        if name in self.entries:
            return _attribute(import_module(self.entries[name].target.partition(":")[0]), self.entries[name].target)
        reference = self.reference(name)
        if reference not in LOADED:
            module = reference.partition(":")[0]
            raise ConfigError(
                f"{self.key}={printable(name)} is not imported, since nobody said that it is trusted: read the "
                f"configuration with distgan.load_config, or pass trust=['{module}']"
            )
        return LOADED[reference]

    def name_of(self, section: BaseModel) -> str:
        """The name that a section chooses."""
        return str(getattr(section, self.choice))

    def module_of(self, section: BaseModel) -> str:
        """The module that must be trusted to read what a section names from a file; empty where none must be."""
        name = self.name_of(section)
        return name.partition(":")[0] if ":" in name else ""

    def settings_of(self, section: BaseModel) -> BaseModel:
        """The settings that an implementation is built with: the section itself, or the Settings of its own class."""
        if not isinstance(section, OutsideSection):
            return section
        with _as_config_error(self.name_of(section)):
            return checked_settings(section, self.load(self.name_of(section)), self)

    def options_of(self, name: str, options: Mapping[str, Any]) -> BaseModel:
        """The settings of a class from outside that has its options beside its name. Raises ConfigError."""
        with _as_config_error(name):
            return settings_from(self.load(name), {}, options, self)

    def build(self, section: BaseModel, *arguments: Any, **named: Any) -> Any:
        """The chosen implementation: called with its settings and the arguments where it is a class or function.

        An object that is neither is used as it is: it has no settings.
        """
        target = self.load(self.name_of(section))
        if not isinstance(section, OutsideSection):
            return target(section, *arguments, **named) if is_factory(target) else target
        name, settings, built = self.name_of(section), self.settings_of(section), target
        if is_factory(target):
            try:
                built = target(settings, *arguments, **named)
            except DistganError:
                raise
            except Exception as error:
                raise ConfigError(f"{name} cannot be built: {error_text(error)}") from error
        if missing := [part for part in self.needs if not hasattr(built, part)]:
            raise ConfigError(f"{name} has no {missing[0]}; `distgan check {self.kind}` says what it must have")
        return built


@contextmanager
def _as_config_error(name: str) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(f"{name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def short_name(name: str) -> str:
    """The name without its module: `mylab.metrics:Nearest` is called Nearest."""
    return name.rpartition(":")[2]


def _different(sections: tuple[Any, ...]) -> tuple[Any, ...]:
    """Sections of a list whose short names differ: these are the names of scores, states and warnings."""
    names = [short_name(section.name) for section in sections]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name} stands there twice; give one of the two another name")
    return sections


def error_text(error: Exception) -> str:
    """An error of somebody else's code: its class, its text, and the place that raised it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {printable(str(error))} ({frame.filename}:{frame.lineno})"


def is_factory(target: Any) -> bool:
    """Whether an implementation is called with its settings: a class or function, not an object that is ready."""
    return isinstance(target, type) or hasattr(target, "__code__")


@functools.cache
def _entry_points(group: str) -> dict[str, str]:
    """{"name": "package.module:Name"} of the installed packages; nothing is imported."""
    from importlib import metadata  # 10 ms, which most commands do not need

    return {point.name: point.value.partition(" ")[0] for point in metadata.entry_points(group=group)}


def _import(reference: str) -> Any:
    """Imports `package.module:Name`, from the working directory as well. Raises ValueError."""
    module = reference.partition(":")[0]
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # last: it hides nothing that is installed
    try:
        imported = import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{reference} cannot be imported: {error}; it must be installed, or lie in the working directory"
        ) from None
    except (Exception, SystemExit) as error:
        raise ValueError(f"{reference} cannot be imported: {type(error).__name__}: {printable(str(error))}") from error
    return _attribute(imported, reference)


def _attribute(module: Any, reference: str) -> Any:
    """What `module:Name.Part` names, but no module. Raises ValueError."""
    found = module
    for part in reference.partition(":")[2].split("."):
        if not hasattr(found, part):
            close = difflib.get_close_matches(part, dir(found), n=1, cutoff=0.5)
            nearest = f"; nearest: {close[0]}" if close else ""
            raise ValueError(f"{reference}: {module.__name__} has no {part}{nearest}")
        found = getattr(found, part)
        if isinstance(found, ModuleType):
            raise ValueError(f"{reference}: {part} is a module; write {found.__name__}:Name")
    return found
