"""pydantic's ValidationError in, sentences out: the key, the rule, and the nearest value that works."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ValidationError

from distgan.config.keys import alternatives, is_section, show_value, walk
from distgan.config.outside import OUTSIDE, OutsideSection
from distgan.config.registry import REGISTRIES
from distgan.config.schema import Config
from distgan.utils.safe_io import printable

CHOICE_KEYS = {"family", "name", "kind"}  # keys that select one variant of a section


SCHEDULE_EXAMPLE = "{start: 1e-3, end: 1e-4, images: 100_000}"
REFERENCE = "=package.module:Name"


class Mistake(NamedTuple):
    """One broken rule of a model. As text: `key: rule`."""

    key: str
    """Dotted; empty for the model itself."""
    value: Any
    rule: str

    def __str__(self) -> str:
        return f"{self.key}: {self.rule}" if self.key else self.rule


def first_mistake(error: ValidationError, section: str = "") -> Mistake:
    """The first mistake in any model. section: the key that holds the model, put before the mistake's own key."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in (section, *first["loc"]) if part not in ("", OUTSIDE))
    if first["type"] == "unknown_name":
        return Mistake("", first["input"], _unknown_name(printable(key), first["input"], first["ctx"]))
    return Mistake(printable(key), first["input"], first["msg"].removeprefix("Value error, "))


def config_mistakes(error: ValidationError, most: int) -> list[str]:
    """One sentence for each mistake in a `Config`; of more than `most`, the number of the others."""
    mistakes = _one_per_key(error.errors(include_url=False))
    sentences = [_sentence(mistake) for mistake in mistakes[:most]]
    return [*sentences, f"and {len(mistakes) - most:,} more mistakes"] if len(mistakes) > most else sentences


def nearest_key(key: str) -> str:
    """`; nearest: KEY`, or where all keys are listed if no key is near."""
    near = near_key(key)
    return f"; nearest: {near}" if near else "; `distgan train --help` lists all keys"


def near_key(key: str) -> str | None:
    """The key that is most like another: one with the same last part first. None if none is like it."""
    key = printable(key).replace("-", "_")
    keys = list(dict.fromkeys(known for known, _ in walk(Config)))
    same_leaf = [known for known in keys if known.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    close = difflib.get_close_matches(key, same_leaf, n=1, cutoff=0)
    close = close or difflib.get_close_matches(key, [*keys, *Config.model_fields], n=1, cutoff=0.6)
    return close[0] if close else None


def _one_per_key(errors: list[Any]) -> list[Any]:
    """Merges the two errors that pydantic reports for a key that takes a word or a number, such as train.bucket_mb."""
    words = {item["loc"][:-1]: word for item in errors if (word := _word(item))}
    merged = []
    for item in errors:
        key = item["loc"][:-1]
        if key not in words:
            merged.append(item)
        elif not _word(item):
            message = item["msg"].replace("should be", f"should be {words[key]}, or", 1)
            merged.append({**item, "loc": key, "msg": message})
    return merged


def _word(error: Any) -> str:
    """`auto` for an error at train.bucket_mb.literal['auto']; empty for any other error."""
    variant = re.fullmatch(r"literal\['(\w+)'\]", str(error["loc"][-1])) if error["loc"] else None
    return variant[1] if variant else ""


def _sentence(error: Any) -> str:
    parts, choice = _without_variants([printable(str(part)) for part in error["loc"]])
    key, kind, value, context = ".".join(parts), error["type"], error.get("input"), error.get("ctx", {})
    shown = show_value(value)
    if kind in ("extra_forbidden", "invalid_key"):
        return _unknown_key(key, choice)
    if kind in ("value_error", "assertion_error"):
        reason = str(context.get("error", error["msg"]))
        return f"{key}: {reason}" if key else reason
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return _not_a_section(key, value)
    if kind in ("string_type", "path_type") and not isinstance(value, (dict, list)):
        return f"{key}={shown} must be text; write it in quotes: \"'{shown}'\""
    if kind == "unknown_name":
        return _unknown_name(key, value, context)
    if kind == "unknown_choice":
        return f"{key}={shown} {context['rule']}"
    if kind == "untrusted":
        return f"{key}: {context['rule']}"
    if kind == "literal_error":
        return _not_a_choice(key, value, context["expected"])
    if kind == "missing":
        section, _, leaf = key.rpartition(".")
        example = f", such as {SCHEDULE_EXAMPLE}" if "schedule" in error["loc"] else ""
        return f"{section}={shown} lacks {leaf}{example}"
    rule = re.sub("^(Input|String|Tuple|Value) should", "must", error["msg"])
    rule = re.sub(", unable to .*| after validation", "", rule).replace("a valid boolean", "true or false")
    return f"{key}={shown} {rule}{_nearest_number(value, context)}"


def _not_a_section(key: str, value: Any) -> str:
    inside = next((known for known, _ in walk(Config) if known.startswith(f"{key}.")), "train.images")
    return f"{key}={show_value(value)} is wrong: {key} is a section; set a key in it, such as {inside}"


def _unknown_name(key: str, value: Any, context: dict[str, Any]) -> str:
    """context: `kind`, the registry's, and `discriminator`, the key that chooses."""
    if not isinstance(value, dict):
        return _not_a_section(key, value)
    choice = context["discriminator"]
    name = value.get(choice)
    return f"{key}.{choice}={show_value(name)} {REGISTRIES[context['kind']].rule(str(name))}"


def _unknown_key(key: str, choice: str) -> str:
    if choice and key in {known for known, _ in walk(Config)}:  # a key of another variant
        if choice.endswith(REFERENCE):
            section, leaf = key.rsplit(".", 1)
            return (
                f"{key} does not go with a class from outside; if it is a setting of its own: {section}.options.{leaf}"
            )
        section, name = choice.rsplit(".", 1)
        whole = f"'{section}={{{name.replace('=', ': ')}}}'"
        return f"{key} does not go with {choice}; leave it out, or set the whole section: {whole}"
    return f"unknown key {key}{nearest_key(key)}"


def _not_a_choice(key: str, value: Any, expected: str) -> str:
    """expected: pydantic's list, such as "'a', 'b' or 'c'"."""
    choices = [choice.strip(" '") for choice in expected.replace(" or ", ",").split(",")]
    close = difflib.get_close_matches(printable(str(value)), choices, n=1, cutoff=0.3)
    nearest = f"; nearest: {close[0]}" if close else ""
    return f"{key}={show_value(value)} must be one of {', '.join(choices)}{nearest}"


def _nearest_number(value: Any, context: dict[str, Any]) -> str:
    """The number beside a broken limit; empty if no limit is broken."""
    if isinstance(step := context.get("multiple_of"), int) and isinstance(value, int):
        return f"; nearest valid: {max(1, round(value / step)) * step}"
    if isinstance(above := context.get("gt"), int):
        return f"; nearest valid: {above + 1}"
    hints = {"ge": "nearest valid: {}", "le": "nearest valid: {}", "gt": "use more than {}", "lt": "use less than {}"}
    return next((f"; {text.format(context[limit])}" for limit, text in hints.items() if limit in context), "")


def _without_variants(parts: list[str]) -> tuple[list[str], str]:
    """A location without pydantic's names of variants, and the last choice among them, such as loss.name=hinge."""
    kept: list[str] = []
    choice = ""
    for part in parts:
        variants = _variants().get(".".join(kept), {})
        if part in variants or part == OUTSIDE:
            choice = variants.get(part) or choice
        else:
            kept.append(part)
    return kept, choice


@functools.cache
def _variants() -> dict[str, dict[str, str]]:
    """{"loss": {"hinge": "loss.name=hinge", ...}, ...}; the variants number, schedule and widths have no text."""

    def find(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
        for name, field in model.model_fields.items():
            accepted = alternatives(field.annotation)
            for section in filter(is_section, accepted):
                yield from find(section, f"{prefix}{name}.")
                for tag in CHOICE_KEYS & section.model_fields.keys():
                    if issubclass(section, OutsideSection):
                        yield prefix + name, OUTSIDE, f"{prefix}{name}.{tag}{REFERENCE}"
                    for value in get_args(section.model_fields[tag].annotation):
                        yield prefix + name, value, f"{prefix}{name}.{tag}={value}"
                if len(accepted) > 1:
                    yield from ((prefix + name, form, "") for form in ("number", "schedule"))
            if len(accepted) > 1 and any(get_origin(kind) is tuple for kind in accepted):
                yield from ((prefix + name, form, "") for form in ("number", "widths"))

    variants: dict[str, dict[str, str]] = {}
    for key, value, text in find(Config, ""):
        variants.setdefault(key, {})[value] = text
    return variants
