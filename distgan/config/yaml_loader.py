"""YAML text in, plain values out; the text may come from a stranger.

Nothing becomes another value than it looks like. A number is decimal (0123 is 123, 1_000 and 1e3 are 1000, 1:30 and
0x10 are text), only true and false are booleans, there are no dates, and a key that takes text keeps it as it is
written.
Aliases and tags are refused, so the values are never larger than the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

import yaml

from distgan.utils.errors import ConfigError
from distgan.utils.safe_io import printable

MAX_DEPTH = 16  # sections and lists inside one another
MAX_DIGITS = 100  # of a number
NULLS = ("", "~", "null", "Null", "NULL")
BOOLEANS = {word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}
_DIGITS = "[0-9]+(?:_[0-9]+)*"
_WHOLE = re.compile(f"[-+]?{_DIGITS}")
_NUMBER = re.compile(rf"[-+]?(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][-+]?[0-9]{{1,4}})?")
_THOUSANDS = re.compile(r"[-+]?[0-9]{1,3}\.000")


class Kinds(NamedTuple):
    """What dotted keys take, where that decides how a word without quotes is read."""

    texts: Mapping[str, bool]
    """Keys that take text: whether they take null as well."""
    names: frozenset[str]
    """Those of them that take a list of names, also as text with commas."""
    paths: frozenset[str]
    """Those of them that take a path."""
    switches: frozenset[str]
    """Keys that take true and false; elsewhere these are text."""
    whole: frozenset[str]
    """Keys whose numbers are whole."""

    def value_at(self, key: str, text: str) -> Any:
        """What a word without quotes means at a key. Raises ValueError for 3.000 at a key of whole numbers."""
        value = plain_value(text)
        if key in self.whole and _THOUSANDS.fullmatch(text):
            number = text.removesuffix(".000")
            raise ValueError(f"{key}: {text} may mean {number}, or thousands; write {number}, or {number}_000")
        return text if isinstance(value, bool) and key not in self.switches else value


def parse_yaml(text: str, origin: str, kinds: Kinds, key: str = "") -> Any:
    """Plain values of a YAML document. Raises ConfigError that names `origin`, a file or an override.

    key: the dotted key that the document is the value of; empty for the whole configuration.
    """
    try:
        node = _compose(text)
        if key and node is not None and (rest := text[node.end_mark.index :].strip()):
            raise yaml.MarkedYAMLError(problem=f"'{rest}' follows the value", problem_mark=node.end_mark)
        return None if node is None else _value(node, kinds, key)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{origin} is not valid YAML: {printable(' '.join(str(error).split()), 500)}") from None


def _compose(text: str) -> yaml.Node | None:
    loader = _Loader(text)
    try:
        return loader.get_single_node()  # type: ignore[no-untyped-call,no-any-return]
    finally:
        loader.dispose()  # type: ignore[no-untyped-call]


def plain_value(text: str) -> Any:
    """What a word without quotes means: null, true, false, a decimal number, or itself. Raises ValueError."""
    if text in NULLS:
        return None
    if text in BOOLEANS:
        return BOOLEANS[text]
    if not _NUMBER.fullmatch(text):
        return text
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of more than {MAX_DIGITS} digits is not allowed here")
    digits = text.replace("_", "")
    if _WHOLE.fullmatch(digits):
        return int(digits)
    exact = Decimal(digits)
    whole = "e" in digits.lower() and exact.adjusted() < MAX_DIGITS and exact == exact.to_integral_value()
    return int(exact) if whole else float(digits)


class _Loader(yaml.SafeLoader):
    """PyYAML's parser without aliases, tags and deep nesting."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refused("*alias", event)
        if getattr(event, "tag", None) is not None:
            raise _refused("!tag", event)
        if self.depth == MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, f"more than {MAX_DEPTH} levels", event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)  # type: ignore[no-untyped-call]
        self.depth -= 1
        return node


def _value(node: yaml.Node, kinds: Kinds, key: str, in_list: bool = False) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, kinds, key)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, kinds, key, in_list=True) for item in node.value]
    assert isinstance(node, yaml.ScalarNode)
    text = str(node.value)
    if node.style is not None or (in_list and key in kinds.names):  # in quotes, a block of text, or a name
        return text
    if key in kinds.texts:
        is_null = text in NULLS if kinds.texts[key] else text == "null" and key in kinds.paths
        return None if is_null else text
    return kinds.value_at(key, text)


def _mapping(node: yaml.MappingNode, kinds: Kinds, key: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, item in node.value:
        if not isinstance(name, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=name.start_mark)
        if name.value in values:
            raise yaml.MarkedYAMLError(problem=f"key '{name.value}' appears twice", problem_mark=name.start_mark)
        values[name.value] = _value(item, kinds, f"{key}.{name.value}" if key else name.value)
    return values


def _refused(name: str, position: Any) -> yaml.MarkedYAMLError:
    problem = f"a {name} is not allowed here; write the value itself"
    return yaml.MarkedYAMLError(problem=problem, problem_mark=position.start_mark)
