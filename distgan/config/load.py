"""YAML and dotted overrides in, a validated `Config` out; and the other way round: help, print, compare.

One line per mistake: the key, the rule, the nearest thing that works.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import re
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from distgan.config.base import FREE, Schedule
from distgan.config.schema import Config
from distgan.utils.errors import ConfigError
from distgan.utils.safe_io import printable, read_bytes

PACKAGE = Path(__file__).resolve().parent.parent
RECIPES = PACKAGE / "configs" if (PACKAGE / "configs").is_dir() else PACKAGE.parent / "configs"


WAY = "{start: 1e-3, end: 1e-4, images: 100_000}"  # a schedule, as an example
TAGS = {"family", "name", "kind"}  # keys that choose among models
MAX_BYTES = 1 << 16  # of a file; the recipes have about 1,000
MAX_MISTAKES = 20  # that are told at once
MAX_NESTED = 16  # sections and lists within one another
MAX_DIGITS = 100  # of a whole number


class _Loader(yaml.SafeLoader):
    """YAML with 1.2 scalars: `no` is a word (train.precision=no), only true and false are booleans; no dates.

    No aliases, which make a few lines stand for billions, and no tags: what is read is as large as what is written.
    """

    nested = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        self._refuse("*alias", isinstance(event, yaml.AliasEvent), event)
        self._refuse("!tag", getattr(event, "tag", None) is not None, event)
        if self.nested == MAX_NESTED:
            raise yaml.composer.ComposerError(None, None, f"more than {MAX_NESTED} levels", event.start_mark)
        self.nested += 1
        node = super().compose_node(parent, index)  # type: ignore[no-untyped-call]
        self.nested -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True) if isinstance(key, yaml.ScalarNode) else None  # type: ignore[no-untyped-call]
            if name in seen and isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, f"key '{name}' stands twice", node.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        self._refuse(f"number of more than {MAX_DIGITS} digits", len(node.value) > MAX_DIGITS, node)
        return super().construct_yaml_int(node)  # type: ignore[no-untyped-call,no-any-return]

    @staticmethod
    def _refuse(what: str, there: bool, place: Any) -> None:
        if there:
            raise yaml.MarkedYAMLError(
                problem=f"a {what} has no place here; write out what it stands for", problem_mark=place.start_mark
            )


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)  # type: ignore[no-untyped-call]
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rsplit(":", 1)[1] not in ("bool", "timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(  # type: ignore[no-untyped-call]
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF")
)


def load_config(source: str | Path = "quickstart", overrides: Sequence[str] = ()) -> Config:
    """The recipe `source` (a path, or the name of a file in configs/) with `key=value` overrides.

    Raises ConfigError, one line per mistake.
    """
    path = find_recipe(source)
    tree = _parse(_read(path), str(path)) or {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: the file must hold sections such as `train:`, not {_kind(tree)}")
    for override in overrides:
        _apply(tree, override)
    return validate(tree, str(path))


def validate(tree: dict[str, Any], origin: str) -> Config:
    """Config from nested plain values. Raises ConfigError naming `origin`."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        mistakes = _one_for_each_key(error.errors(include_url=False))
        lines = [_sentence(item, tree) for item in mistakes[:MAX_MISTAKES]]
        if len(mistakes) > MAX_MISTAKES:
            lines.append(f"and {len(mistakes) - MAX_MISTAKES:,} more mistakes")
        raise ConfigError(f"{origin}: " + f"\n{origin}: ".join(lines)) from None


def find_recipe(source: str | Path) -> Path:
    """A configuration file by path, or by its name in configs/."""
    path = Path(source)
    if path.is_file():
        return path
    if (named := RECIPES / f"{path.name.removesuffix('.yaml')}.yaml").is_file() and path.parent == Path("."):
        return named
    names = sorted(recipe.stem for recipe in RECIPES.glob("*.yaml"))
    raise ConfigError(f"no configuration file {source}; recipes that come with distgan: {', '.join(names)}")


def to_yaml(config: Config) -> str:
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"train": {"images": 1}} -> {"train.images": 1}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def resume_changes(saved: dict[str, Any], config: Config) -> tuple[list[str], list[str]]:
    """What differs between a checkpoint's configuration and `config`: (harmless changes, refused changes).

    Each change reads `key: old -> new`.
    """
    with contextlib.suppress(ValidationError):  # keys that came later have their defaults in an older checkpoint
        saved = Config.model_validate(saved).model_dump(mode="json")
    old, new = flatten(saved), flatten(config.model_dump(mode="json"))
    free = {key for key, field in walk(Config) if field.json_schema_extra == FREE}
    harmless: list[str] = []
    refused: list[str] = []
    for key in [*new, *(key for key in old if key not in new)]:
        if old.get(key) != new.get(key):
            before, after = (printable(str(values.get(key, "not there"))) for values in (old, new))
            change = f"{printable(key)}: {before} -> {after}"
            (harmless if key in free else refused).append(change)
    return harmless, refused


def walk(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every leaf key with its field, sections expanded; a key that several variants of a choice have comes up again.

    A number that may be a schedule is a leaf, and a section as well.
    """
    for name, field in model.model_fields.items():
        kinds = _alternatives(field.annotation)
        if not all(_is_section(kind) for kind in kinds):
            yield prefix + name, field
        for section in filter(_is_section, kinds):
            yield from walk(section, f"{prefix}{name}.")


def help_text() -> str:
    """Every key with its rule, default, and meaning."""
    fields: dict[str, list[FieldInfo]] = {}
    for key, field in walk(Config):
        fields.setdefault(key, []).append(field)
    lines, defaults = [], flatten(Config().model_dump())
    for key, variants in fields.items():
        rule = " | ".join(dict.fromkeys(_rule(field) for field in variants))
        usual = [_show(defaults[key])] if key in defaults else []
        shown = " | ".join(dict.fromkeys([*usual, *map(_default, variants)]))
        lines.append(f"  {key}  <{rule}>  [{shown}]")
        lines.append(f"      {(variants[0].description or '').replace(chr(10), ' ')}")
    return "\n".join(lines)


def _read(path: Path) -> str:
    try:
        return read_bytes(path, MAX_BYTES).decode()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file: byte {error.start} is not UTF-8") from None
    except ValueError as error:
        raise ConfigError(f"{path} is no configuration: {error}") from None


def _parse(text: str, origin: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except (yaml.YAMLError, ValueError) as error:  # 0x_ and the like are a ValueError
        raise ConfigError(f"{origin} is not valid YAML: {printable(' '.join(str(error).split()), 500)}") from None


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")) or key.startswith("-"):
        fixed = key.lstrip("-").strip(".").replace("-", "_") or "train.batch_size"
        raise ConfigError(f"'{override}' is not an override; write key=value, as in {fixed}={text or 'VALUE'}")
    *sections, leaf = key.split(".")
    for section in sections:
        child = tree.get(section)
        if child is not None and not isinstance(child, dict):
            whole = key.removesuffix(f".{leaf}")
            way = f"; set all of it: '{whole}={WAY}'" if leaf in Schedule.model_fields else _nearest(key)
            raise ConfigError(f"{override}: {section} is a value, not a section{way}")
        if child is None:
            child = tree[section] = {}
        tree = child
    tree[leaf] = _parse(text, override) if text else ""


def _one_for_each_key(mistakes: list[Any]) -> list[Any]:
    """Where a key is a word or a number, pydantic tells what is wrong with each: here it is the number's mistake."""
    words = {item["loc"][:-1]: word for item in mistakes if (word := _word(item))}
    kept = []
    for item in mistakes:
        key = item["loc"][:-1]
        if key not in words:
            kept.append(item)
        elif not _word(item):
            message = item["msg"].replace("should be", f"should be {words[key]}, or", 1)
            kept.append({**item, "loc": key, "msg": message})
    return kept


def _word(item: Any) -> str:
    """auto, of a mistake at train.bucket_mb.literal['auto']; else nothing."""
    variant = re.fullmatch(r"literal\['(\w+)'\]", str(item["loc"][-1])) if item["loc"] else None
    return variant[1] if variant else ""


def _sentence(error: Any, tree: dict[str, Any]) -> str:
    place, chosen = _without_choices([printable(str(part)) for part in error["loc"]])
    key, kind, given, context = ".".join(place), error["type"], error.get("input"), error.get("ctx", {})
    if kind == "extra_forbidden" and chosen and key in {known for known, _ in walk(Config)}:
        section, choice = chosen.rsplit(".", 1)
        whole = f"'{section}={{{choice.replace('=', ': ')}}}'"
        return f"{key} does not go with {chosen}; leave it out, or set the whole section: {whole}"
    if kind in ("extra_forbidden", "invalid_key"):
        return f"unknown key {key}{_nearest(key)}"
    if kind in ("value_error", "assertion_error"):
        return f"{key}: {context.get('error', error['msg'])}" if key else str(context.get("error", error["msg"]))
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        inside = next((known for known, _ in walk(Config) if known.startswith(f"{key}.")), "train.images")
        return f"{key}={_show(given)} is wrong: {key} is a section; set a key in it, such as {inside}"
    if kind in ("string_type", "path_type") and not isinstance(given, (dict, list)):
        return f"{key}={_show(given)} must be text; write it in quotes: \"'{_show(given)}'\""
    rule = re.sub("^(Input|String|Tuple|Value) should", "must", error["msg"])
    if isinstance(above := context.get("gt"), int):
        return f"{key}={_show(given)} {rule}; nearest valid: {above + 1}"
    bounds = {"ge": "nearest valid: {}", "le": "nearest valid: {}", "gt": "use more than {}", "lt": "use less than {}"}
    for bound, text in bounds.items():
        if bound in context:
            return f"{key}={_show(given)} {rule}; {text.format(context[bound])}"
    if kind in ("literal_error", "union_tag_invalid"):
        options = context.get("expected") or context.get("expected_tags", "")
        choices = [choice.strip(" '") for choice in options.replace(" or ", ",").split(",")]
        if kind == "union_tag_invalid":
            tag = str(context["discriminator"]).strip("'")
            key, given = f"{key}.{tag}", given[tag]
        close = difflib.get_close_matches(printable(str(given)), choices, n=1, cutoff=0.3)
        return f"{key}={_show(given)} must be one of {', '.join(choices)}" + (f"; nearest: {close[0]}" if close else "")
    return f"{key}={_show(given)} {rule}"


def _without_choices(place: list[str]) -> tuple[list[str], str]:
    """The key without pydantic's words for which variant of a choice it is in, and the last choice as key=value."""
    kept: list[str] = []
    chosen = ""
    for part in place:
        variants = _choices().get(".".join(kept), {})
        if part in variants:
            chosen = variants[part] or chosen
        else:
            kept.append(part)
    return kept, chosen


@functools.cache
def _choices() -> dict[str, dict[str, str]]:
    """{"loss": {"hinge": "loss.name=hinge", ...}}: every choice among models; one of number or schedule has no name."""

    def find(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
        for name, field in model.model_fields.items():
            kinds = _alternatives(field.annotation)
            for kind in filter(_is_section, kinds):
                yield from find(kind, f"{prefix}{name}.")
                for tag in TAGS & kind.model_fields.keys():
                    for value in get_args(kind.model_fields[tag].annotation):
                        yield prefix + name, value, f"{prefix}{name}.{tag}={value}"
                if len(kinds) > 1:
                    yield from ((prefix + name, form, "") for form in ("number", "schedule"))

    choices: dict[str, dict[str, str]] = {}
    for key, value, text in find(Config, ""):
        choices.setdefault(key, {})[value] = text
    return choices


def _nearest(key: str) -> str:
    key = printable(key).replace("-", "_")
    keys = list(dict.fromkeys(known for known, _ in walk(Config)))
    same_leaf = [known for known in keys if known.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    close = difflib.get_close_matches(key, same_leaf, n=1, cutoff=0)
    close = close or difflib.get_close_matches(key, [*keys, *Config.model_fields], n=1, cutoff=0.6)
    return f"; nearest: {close[0]}" if close else "; `distgan train --help` lists all keys"


def _alternatives(annotation: Any) -> list[Any]:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return [item for part in get_args(annotation) for item in _alternatives(part)]
    if origin is not None and hasattr(annotation, "__metadata__"):
        return _alternatives(get_args(annotation)[0])
    return [annotation]


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _rule(field: FieldInfo) -> str:
    parts = []
    for kind in _alternatives(field.annotation):
        if get_origin(kind) is Literal:
            parts += [str(value) for value in get_args(kind)]
        elif kind is type(None):
            parts.append("null")
        elif get_origin(kind) is tuple:
            parts.append("name,name" if get_args(kind)[0] is str else "number,number")
        else:
            parts.append({"Path": "path", "str": "text"}.get(kind.__name__, kind.__name__))
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    limits = [
        f"{signs[name]} {getattr(rule, name)}"
        for rule in _metadata(field)
        for name in signs
        if getattr(rule, name, None) is not None
    ]
    return " | ".join(parts) + (f" {' and '.join(limits)}" if limits else "")


def _default(field: FieldInfo) -> str:
    return "required" if field.is_required() else _show(field.get_default(call_default_factory=True))


def _metadata(field: FieldInfo) -> list[Any]:
    nested = [rule for part in get_args(field.annotation) for rule in getattr(part, "__metadata__", ())]
    flat: list[Any] = []
    for rule in [*field.metadata, *nested]:
        flat += rule.metadata if isinstance(rule, FieldInfo) else [rule]
    return flat


def _show(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return printable(",".join(map(str, value)) if isinstance(value, tuple) else str(value))


def _kind(value: Any) -> str:
    return "a list" if isinstance(value, list) else "text" if isinstance(value, str) else "a single value"
