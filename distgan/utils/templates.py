"""Pages filled by jinja2 with autoescape: text from a stranger's files stays text."""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2


@functools.cache
def environment(directory: Path) -> jinja2.Environment:
    """The templates of a directory, one object for all calls.

    jinja2 is imported with the first page, since that takes a while.
    """
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(directory),
        autoescape=True,
        finalize=_visible,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def source_hash(text: str) -> str:
    """The hash by which a page's policy allows a style or a script in it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def visible(text: str) -> str:
    """Text with U+FFFD for each character that cannot be shown, except line ends."""
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text)


def _visible(value: Any) -> Any:
    """Visible text; other values, and what a macro has escaped already, pass through."""
    return value if not isinstance(value, str) or hasattr(value, "__html__") else visible(value)
