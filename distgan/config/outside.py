"""The section of a class from outside: the common settings of its kind, and its own under `options`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, Field, ModelWrapValidatorHandler, ValidationError, ValidationInfo, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from distgan.config.base import Frozen
from distgan.utils.safe_io import printable

if TYPE_CHECKING:
    from distgan.config.registry import Registry, Trust

OUTSIDE = "outside"  # pydantic's name of this variant
SECTIONS: dict[str, type[OutsideSection]] = {}  # by the kind's name


class OutsideSection(Frozen):
    """A class that does not come with distgan. Resolved, `options` holds every setting of its own."""

    registry: ClassVar[Registry]
    options: dict[str, Any] = Field(
        default_factory=dict, description="Settings of a class from outside, by the names in its Settings."
    )

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self.registry.kind, dict(self), self.model_fields_set)

    @model_validator(mode="wrap")
    @classmethod
    def _resolve(cls, value: Any, handler: ModelWrapValidatorHandler[Any], info: ValidationInfo) -> Any:
        """Imports the class and checks its settings, where the validation has a trust."""
        section, registry = handler(value), cls.registry
        name = registry.name_of(section)
        target = _named_error(registry, name, trust_of(info))
        if target is None:
            return section
        settings = checked_settings(section, target, registry)
        own = settings.model_dump(mode="json", exclude=set(registry.base.model_fields))
        common = {key: getattr(settings, key) for key in registry.base.model_fields}
        return section.model_copy(update=common | {"options": own})


def _unpickled(kind: str, values: dict[str, Any], fields_set: set[str]) -> OutsideSection:
    """A section in another process. Its class has no module of its own, so that pickle would not find it."""
    import_module("distgan.config.schema")  # makes the classes
    return SECTIONS[kind].model_construct(_fields_set=fields_set, **values)


def trust_of(info: ValidationInfo) -> Trust | None:
    """The trust of a validation; None: nothing is imported."""
    return (info.context or {}).get("trust")


def _named_error(registry: Registry, name: str, trust: Trust | None) -> Any:
    """The class, None without a trust. Raises ValidationError at the key that chooses."""
    try:
        return registry.admit(name, trust)
    except PydanticCustomError as error:
        raise _errors([InitErrorDetails(type=error, loc=(registry.choice,), input=name)]) from None
    except ValueError as error:
        raise _errors([_sentence((registry.choice,), name, str(error))]) from None


def checked_settings(section: OutsideSection, target: Any, registry: Registry) -> BaseModel:
    """The target's own Settings from a section. Raises ValidationError, at the keys of the section."""
    common = section.model_dump(exclude={registry.choice, "options"}, exclude_unset=True)
    if twice := [key for key in section.options if key in registry.base.model_fields]:
        rule = f"{twice[0]} stands beside options, not in it"
        raise _errors([_sentence(("options", twice[0]), section.options[twice[0]], rule)])
    return settings_from(target, common, section.options, registry)


def settings_from(target: Any, common: dict[str, Any], options: Mapping[str, Any], registry: Registry) -> BaseModel:
    """The target's own Settings from the common ones of its kind and its options. Raises ValidationError."""
    settings = getattr(target, "Settings", registry.base)
    if not (isinstance(settings, type) and issubclass(settings, registry.base)):
        rule = f"its Settings must be a subclass of {registry.settings_name}"
        raise _errors([_sentence((registry.choice,), settings, rule)])
    try:
        return settings.model_validate(common | dict(options))
    except ValidationError as error:
        raise _errors([_moved(each, settings, registry) for each in error.errors(include_url=False)]) from None


def _moved(error: Mapping[str, Any], settings: type[BaseModel], registry: Registry) -> InitErrorDetails:
    """An error of a class's Settings as one of the section."""
    location, known = error["loc"], registry.base.model_fields
    where = location if location and location[0] in known else ("options", *location)
    if error["type"] == "extra_forbidden":
        own = [key for key in settings.model_fields if key not in known]
        return _sentence(where[:-1], error["input"], _unknown_option(printable(str(location[-1])), own))
    if error["type"] == "missing":
        return _sentence(where, error["input"], "it has no default and must be given")
    if error["type"] in ("value_error", "assertion_error"):
        return _sentence(where, error["input"], error["msg"].partition(", ")[2])
    return InitErrorDetails(type=error["type"], loc=where, input=error["input"], ctx=error.get("ctx", {}))


def _unknown_option(name: str, own: list[str]) -> str:
    if not own:
        return f"there is no option {name}: the class has none"
    close = difflib.get_close_matches(name, own, n=1, cutoff=0.5)
    return f"there is no option {name}; " + (f"nearest: {close[0]}" if close else f"there are {', '.join(own)}")


def _sentence(location: tuple[str | int, ...], value: Any, text: str) -> InitErrorDetails:
    error = PydanticCustomError("value_error", "{error}", {"error": text})
    return InitErrorDetails(type=error, loc=location, input=value)


def _errors(details: list[InitErrorDetails]) -> ValidationError:
    return ValidationError.from_exception_data("section", details)
