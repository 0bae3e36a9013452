"""The page's templates, filled by jinja2 with autoescape: text out of a run directory stays text.

jinja2 is imported with the first page, since it takes longer than all else that a training imports for its report.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from distgan.utils.templates import environment, source_hash
from distgan.utils.version import __version__

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup


class Part(NamedTuple):
    """A section of a page."""

    id: str
    title: str
    """Its heading; empty: it has none."""
    html: str
    """Escaped. Empty: the section is not shown."""


def fill_template(name: str, **values: Any) -> str:
    """A template of this directory with its variables replaced; all text is escaped."""
    return _environment().get_template(name).render(values)


def fill_macro(name: str, *values: Any) -> Markup:
    """What a macro of parts.html.j2 makes of values; all text is escaped."""
    macro: Callable[..., Markup] = getattr(_environment().get_template("parts.html.j2").module, name)
    return macro(*values)


def fill_page(title: str, parts: Sequence[Part], live: bool, etag: str = "") -> str:
    """A page. live: it fetches its style and its scripts from its own server; otherwise they are in it. etag: of its
    parts, so that the live page knows what it has.
    """
    from markupsafe import Markup

    style, script = asset("style.css"), asset("player.js")
    return fill_template(
        "page.html.j2",
        title=title,
        parts=parts,
        live=live,
        etag=etag,
        style=Markup(style),
        script=Markup(script),
        style_hash=source_hash(style),
        script_hash=source_hash(script),
        version=__version__,
    )


def asset(name: str) -> str:
    """style.css, player.js or live.js of this directory."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


@functools.cache
def _environment() -> jinja2.Environment:
    from distgan.training.report.contents import Missing
    from distgan.training.report.data_uri import data_uri

    made = environment(Path(__file__).parent)
    made.filters["data_uri"] = data_uri
    made.tests["missing"] = lambda part: isinstance(part, Missing)
    return made
