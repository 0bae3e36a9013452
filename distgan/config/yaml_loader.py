"""YAML text in, plain values out; the text may come from a stranger.

YAML 1.2 scalars: `no` is a word (train.precision=no), only true and false are booleans, and there are no dates.
Aliases and tags are refused, so the values are never larger than the text.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from distgan.utils.errors import ConfigError
from distgan.utils.safe_io import printable

MAX_DEPTH = 16  # sections and lists inside one another
MAX_DIGITS = 100  # of a whole number


def parse_yaml(text: str, origin: str) -> Any:
    """Plain values of a YAML document. Raises ConfigError that names `origin`, a file or an override."""
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except (yaml.YAMLError, ValueError) as error:  # PyYAML raises ValueError for 0x_ and the like
        raise ConfigError(f"{origin} is not valid YAML: {printable(' '.join(str(error).split()), 500)}") from None


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases, tags, repeated keys, deep nesting and YAML 1.1 words."""

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

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                name = self.construct_object(key, deep=True)  # type: ignore[no-untyped-call]
                if name in seen:
                    problem = f"key '{name}' appears twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
                seen.add(name)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > MAX_DIGITS:
            raise _refused(f"number of more than {MAX_DIGITS} digits", node)
        return super().construct_yaml_int(node)  # type: ignore[no-untyped-call,no-any-return]


def _refused(name: str, position: Any) -> yaml.MarkedYAMLError:
    problem = f"a {name} is not allowed here; write the value itself"
    return yaml.MarkedYAMLError(problem=problem, problem_mark=position.start_mark)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)  # type: ignore[no-untyped-call]
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rsplit(":", 1)[1] not in ("bool", "timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(  # type: ignore[no-untyped-call]
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF")
)
