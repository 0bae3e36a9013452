"""The pages of a built site, read from their HTML: what they load, where their links lead, which places they have."""

from __future__ import annotations

import contextlib
import functools
import http.server
import re
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urldefrag

LOADED = {  # attributes that a browser fetches by itself
    *(("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("video", "src"), ("embed", "src")),
    *(("img", "srcset"), ("source", "srcset"), ("object", "data"), ("video", "poster")),
}
RELATIONS = {"stylesheet", "icon", "preload", "preconnect", "prefetch", "modulepreload", "dns-prefetch", "manifest"}
CODE = {"code", "pre", "script", "style"}
MARKDOWN = re.compile(r"\n(?:- |\d+\. |\| ?-{3})|\]\(|```|~~~")
FOREIGN_CSS = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""")


class Place(NamedTuple):
    """A file of the site, and a place in it, `` for its beginning."""

    file: Path
    anchor: str


class HtmlPage(HTMLParser):
    """Attributes: anchors; links: every href of an `a`; loads: every address that a browser fetches by itself; prose:
    the text that is neither code nor script."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.prose = ""
        self._code = 0  # elements of it that are open
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._code += tag in CODE
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self.loads += [value for name, value in given.items() if (tag, name) in LOADED]
        if tag == "link" and RELATIONS & set(given.get("rel", "").split()):
            self.loads.append(given.get("href", ""))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag in CODE

    def handle_data(self, data: str) -> None:
        self.prose += "" if self._code else data


@contextlib.contextmanager
def files_at(folder: Path) -> Iterator[str]:
    """Serves a folder on this machine; gives its address, which ends with /."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def pages_of(site: Path) -> list[HtmlPage]:
    return [HtmlPage(path) for path in sorted(site.rglob("*.html"))]


def is_foreign(address: str) -> bool:
    return bool(re.match(r"(?:https?:|ftp:)?//", address))


def foreign(site: Path) -> list[str]:
    """What would be fetched from another host."""
    found = [f"{page.path}: {each}" for page in pages_of(site) for each in page.loads if is_foreign(each)]
    return found + [f"{css}: {each}" for css in site.rglob("*.css") for each in FOREIGN_CSS.findall(css.read_text())]


def broken(site: Path) -> list[str]:
    """Links, images and scripts that lead to no file of the site, or to no place in it."""
    pages = {page.path: page for page in pages_of(site)}
    found = []
    for page in pages.values():
        inside = [each for each in (*page.links, *page.loads) if not re.match(r"[a-z]+:|//", each)]
        for address in inside:
            place = target(site, page.path, address)
            there = pages.get(place.file)
            if not place.file.is_file() or (place.anchor and there and place.anchor not in there.anchors):
                found.append(f"{page.path.relative_to(site)}: {address}")
    return found


def target(site: Path, page: Path, address: str) -> Place:
    """What a link on a page means. Addresses that begin with / are those of the site."""
    path, anchor = urldefrag(address)
    path = unquote(path.partition("?")[0])
    file = page if not path else site / path.lstrip("/") if path.startswith("/") else (page.parent / path).resolve()
    return Place(file / "index.html" if file.is_dir() else file, unquote(anchor))


def left_over(site: Path) -> list[str]:
    """Signs of Markdown that Python-Markdown has taken for text: a list, a table, a link, a fence."""
    return [
        f"{page.path.relative_to(site)}: {page.prose[sign.start() :][:60]!r}"
        for page in pages_of(site)
        for sign in MARKDOWN.finditer(page.prose)
    ]
