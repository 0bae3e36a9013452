"""The page's templates, filled by jinja2 with autoescape: text out of a run directory stays text.

jinja2 is imported with the first page, since it takes longer than all else that a training imports for its report.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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
        style_hash=_source_hash(style),
        script_hash=_source_hash(script),
        version=__version__,
    )


def asset(name: str) -> str:
    """style.css, player.js or live.js of this directory."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _source_hash(text: str) -> str:
    """The hash by which a page's policy allows a style or a script in it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


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
    from distgan.training.report.contents import Missing
    from distgan.training.report.data_uri import data_uri

    environment.filters["data_uri"] = data_uri
    environment.tests["missing"] = lambda part: isinstance(part, Missing)
    return environment


def _visible(value: Any) -> Any:
    """Text with U+FFFD for each character that cannot be shown, except line ends; other values pass through."""
    if not isinstance(value, str) or hasattr(value, "__html__"):  # escaped already, by a macro
        return value
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in value)
