"""Docstrings as Markdown, for mkdocstrings: an example that begins with `>>>` becomes a block of code."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

EXAMPLE = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


class Examples(Extension):
    """Puts fences around examples."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(docstring: str) -> str:
    return EXAMPLE.sub(lambda match: f"~~~ pycon\n{match[0]}\n~~~", docstring)
