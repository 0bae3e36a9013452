"""The page's templates, filled by jinja2 with autoescape: text out of a run directory stays text.

jinja2 is imported with the first page, since it takes longer than all else that a training imports for its report.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distgan.training.report.contents import Missing
from distgan.training.report.data_uri import data_uri

if TYPE_CHECKING:
    import jinja2


def fill_template(name: str, **values: Any) -> str:
    """A template of this directory with its variables replaced; all text is escaped."""
    return _environment().get_template(name).render(values)


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_visible,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = data_uri
    environment.tests["missing"] = lambda part: isinstance(part, Missing)
    return environment


def _visible(value: Any) -> Any:
    """Text with U+FFFD for each character that cannot be shown, except line ends; other values pass through."""
    if not isinstance(value, str) or hasattr(value, "__html__"):  # escaped already, by a macro
        return value
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in value)
