"""A YAML file and dotted overrides in, a validated `Config` out; and a `Config` back to YAML, or compared with another.

Raises one ConfigError with a line for each mistake.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from distgan.config.base import FREE
from distgan.config.keys import flatten, walk
from distgan.config.messages import SCHEDULE_EXAMPLE, config_mistakes, near_key, nearest_key
from distgan.config.recipes import BASE, KINDS, forget_prepare, may_be_a_run_s, merge, read_alone, read_recipe
from distgan.config.registry import TYPED, Trust
from distgan.config.schedule import Schedule
from distgan.config.schema import Config
from distgan.config.yaml_loader import parse_yaml
from distgan.utils.errors import ConfigError
from distgan.utils.paths import name_as_text
from distgan.utils.safe_io import printable

OPTIONS = ("options", "extractor_options")
MAX_MISTAKES = 20  # reported at once


def load_config(
    source: str | Path = "quickstart",
    overrides: Sequence[str] | Mapping[str, Any] = (),
    trust: Sequence[str] = (),
) -> Config:
    """The configuration in a file and its `base`, with overrides: `key=value` texts, the last of a key wins, or values
    by key ({"train.images": 1000} or {"train": {"images": 1000}}). A text and a dotted key replace one key, and a
    recipe's key that does not go with it is a mistake. A section that chooses another variant, such as {"generator":
    {"family": "dcgan"}}, replaces the recipe's, as it would in a file.

    The file's data.prepare is for the file's data.path: an override of data.path without one of data.prepare names a
    data set that must be there. source: a path, or the name of a recipe in configs/. Names of classes from outside are
    imported: they were typed by the user. The configuration in a run's directory may be somebody else's: of what it
    names only the modules in `trust` are imported. Raises ConfigError, one line per mistake.

    >>> import distgan
    >>> config = distgan.load_config("quickstart", {"train.batch_size": 32, "data.classes": ["star", "heart"]})
    >>> config == distgan.load_config("quickstart", ["train.batch_size=32", "data.classes=star,heart"])
    True
    """
    recipe = read_recipe(source)
    tree, given = recipe.tree, dict[str, Any]()
    if isinstance(overrides, Mapping):
        given = _nested(overrides)
        for key, value in overrides.items():
            if isinstance(value, Mapping):
                tree = merge(tree, _nested({key: value}))
            else:
                _apply(tree, key, value)
    else:
        for key, value in map(_parsed, overrides):
            _apply(tree, key, value)
            _apply(given, key, value)
    if isinstance(data := given.get("data"), dict):
        tree["data"] = forget_prepare(tree["data"], data)
    trust_in_it = Trust(tuple(trust)) if any(map(may_be_a_run_s, recipe.files)) else TYPED
    try:
        return Config.model_validate(tree, context=trust_in_it.context)
    except ValidationError as error:
        raise ConfigError("\n".join(_with_origins(error, recipe.files, trust_in_it))) from None


def read_config(path: Path) -> Config:
    """A run's configuration, to be shown: nothing that it names is imported, no other file read. Raises ConfigError."""
    return validate(read_alone(path), str(path))


def validate(tree: dict[str, Any], origin: str, trust: Trust | None = None) -> Config:
    """A Config from nested plain values. trust: whose names are imported; None: nothing is.

    Raises ConfigError; each line begins with `origin`.
    """
    try:
        return Config.model_validate(tree, context=trust.context if trust else None)
    except ValidationError as error:
        sentences = config_mistakes(error, MAX_MISTAKES)
        raise ConfigError("\n".join(f"{origin}: {sentence}" for sentence in sentences)) from None


def _with_origins(error: ValidationError, files: Sequence[Path], trust: Trust) -> Iterator[str]:
    """A line for each mistake. It begins with the first file, from the base on, with which the mistake is there, and
    with `override` where the files are right."""
    alone = {file: _mistakes(read_recipe(file).tree, trust) for file in reversed(files)}
    for sentence in config_mistakes(error, MAX_MISTAKES):
        origin = next((str(file) for file, known in alone.items() if sentence in known), "override")
        yield f"{origin}: {sentence}"


def _mistakes(tree: dict[str, Any], trust: Trust) -> list[str]:
    try:
        Config.model_validate(tree, context=trust.context)
    except ValidationError as error:
        return config_mistakes(error, MAX_MISTAKES)
    return []


def to_yaml(config: Config) -> str:
    """The configuration as YAML that `load_config` reads."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def resume_changes(saved: dict[str, Any], config: Config) -> tuple[list[str], list[str]]:
    """Compares a checkpoint's configuration with `config`: (changes that a resumed run may make, refused changes).

    Each change reads `key: old -> new`.
    """
    with contextlib.suppress(ValidationError):
        saved = _filled(saved)
    old, new = flatten(saved), flatten(config.model_dump(mode="json"))
    free = {key for key, field in walk(Config) if field.json_schema_extra == FREE}
    harmless: list[str] = []
    refused: list[str] = []
    for key in [*new, *(key for key in old if key not in new)]:
        if old.get(key) != new.get(key):
            before, after = (printable(str(values.get(key, "not there"))) for values in (old, new))
            change = f"{printable(key)}: {before} -> {after}"
            (harmless if any(f"{key}.".startswith(f"{name}.") for name in free) else refused).append(change)
    return harmless, refused


def _filled(saved: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's configuration with the keys that are newer than it, as it was trained. Raises ValidationError."""
    config = Config.model_validate(saved)
    filled = config.model_dump(mode="json")
    if "penalty_at" not in saved.get("loss", {}) and config.loss.penalised and config.augment.kind != "none":
        filled["loss"]["penalty_at"] = "augmented"  # all that there was before the key
    return filled


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted keys, or nested, as sections. Raises ConfigError for what is no key."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        if not isinstance(key, str) or not all(key.split(".")):
            raise ConfigError(f"{key!r} is no key; write it as in 'train.batch_size'")
        own = key.rpartition(".")[2] in OPTIONS  # keys of somebody else's settings
        part = _nested(value) if isinstance(value, Mapping) and not own else value
        for section in reversed(key.split(".")):
            part = {section: part}
        tree = merge(tree, part)
    return tree


def _parsed(override: str) -> tuple[str, Any]:
    """Key and value of `key=value`. Raises ConfigError."""
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")) or key.startswith("-"):
        fixed = key.lstrip("-").strip(".").replace("-", "_") or "train.batch_size"
        fixed = near_key(fixed) or fixed
        raise ConfigError(f"'{override}' is not an override; write key=value, as in {fixed}={text or 'VALUE'}")
    if key == BASE:
        raise ConfigError(
            f"{override}: base stands at the top of a file; for the recipe itself: --config {text or 'NAME'}"
        )
    return key, _override_value(key, text, override)


def _apply(tree: dict[str, Any], key: str, value: Any) -> None:
    """Sets one value in nested values. Raises ConfigError."""
    *sections, leaf = key.split(".")
    for section in sections:
        child = tree.get(section)
        if child is not None and not isinstance(child, dict):
            whole = f"; set all of it: '{key.removesuffix(f'.{leaf}')}={SCHEDULE_EXAMPLE}'"
            hint = whole if leaf in Schedule.model_fields else nearest_key(key)
            raise ConfigError(f"{key}={value}: {section} is a value, not a section{hint}")
        if child is None:
            child = tree[section] = {}
        tree = child
    tree[leaf] = value


def _override_value(key: str, text: str, override: str) -> Any:
    """The value of an override. Raises ConfigError for broken brackets or quotes.

    A key that takes text takes it as it is written, without quotes around it; `null` is its null, if it has one. Other
    values are a word, or YAML in brackets or quotes.
    """
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    is_yaml = text.startswith("[") if key in KINDS.names else quoted
    if key in KINDS.texts and not is_yaml:
        written = text if key in KINDS.paths else name_as_text(text)
        takes_null = KINDS.texts[key] or key in KINDS.paths  # a path without null is refused, not called so
        return None if takes_null and text == "null" else written
    if quoted or text.startswith(("[", "{")):
        return parse_yaml(text, override, KINDS, key)
    try:
        return KINDS.value_at(key, text.strip()) if text else ""
    except ValueError as error:
        raise ConfigError(f"{override}: {error}") from None
