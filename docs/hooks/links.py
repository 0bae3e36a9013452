"""Links that leave docs/: the site has a page of each file that they name, so they lead somewhere without a code host.

In the repository `../launch/README.md` is a path; on the site it becomes the page repository/launch/README.md. Such a
page may link to others, and back into docs/.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

DOCS, COPIES = "docs", "repository"
FENCE = re.compile(r"^( *)(```+|~~~+).*?^\1\2\s*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(rf"{FENCE.pattern}|`[^`\n]+`", FENCE.flags)
ITEM = re.compile(r"^ {2,3}(?=\S)", re.MULTILINE)  # what belongs to a list's item; Python-Markdown wants four spaces
PARAGRAPH = re.compile(r"(\n\n(?: {4}.*\n)+)(?=- |\d+\. )")  # of an item, before the next one: it wants an empty line
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|[#<])([^)\s#]+)(#[^)\s]*)?(?=\))")
INFO = re.compile(r"^( *```+ *\w+) .*$", re.MULTILINE)  # ```python loader: the second word is for the tests
LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".sh": "bash", ".sbatch": "bash"}
HIDDEN = "---\nsearch:\n  exclude: true\n---\n"  # the search finds pages, not source code


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds a page for every file outside docs/ that the nav or a page names, directly or through another one."""
    from mkdocs.structure.files import File

    root = Path(config.docs_dir).parent
    pages = files.documentation_pages()
    todo = [path for page in pages for path in linked(repository_path(page.src_uri), page.content_string)]
    todo += re.findall(rf"{COPIES}/([\w./-]+)", str(config.nav))
    seen: set[str] = set()
    while todo:
        path = todo.pop()
        if path in seen or path.startswith(f"{DOCS}/") or not (root / path).exists():
            continue  # mkdocs reports a link that leads nowhere
        seen.add(path)
        text = page_of(root / path)
        content = text if path.endswith(".md") else HIDDEN + text
        files.append(File.generated(config, site_path(path), content=content))
        todo += linked(path, text)
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """The page's text with links, fences and lists as the site needs them."""
    text = outside(FENCE, markdown, lambda prose: PARAGRAPH.sub(r"\1\n", ITEM.sub("    ", prose)))
    return rewritten(INFO.sub(r"\1", text), repository_path(page.file.src_uri), page.file.src_uri)


def linked(path: str, markdown: str) -> list[str]:
    """The files of the repository that a Markdown file at `path` in it links to, outside of code."""
    return [target(path, match[1]) for match in LINK.finditer(CODE.sub("", markdown))]


def rewritten(markdown: str, path: str, page: str) -> str:
    """path: of the text's file in the repository, which its links are relative to; page: of its page on the site."""

    def replace(match: re.Match[str]) -> str:
        there = posixpath.relpath(site_path(target(path, match[1])), posixpath.dirname(page) or ".")
        return there + (match[2] or "")

    return outside(CODE, markdown, lambda prose: LINK.sub(replace, prose))


def outside(code: re.Pattern[str], markdown: str, change: Callable[[str], str]) -> str:
    """The text with everything between pieces of code changed."""
    parts, end = [], 0
    for piece in code.finditer(markdown):
        parts += [change(markdown[end : piece.start()]), piece[0]]
        end = piece.end()
    return "".join([*parts, change(markdown[end:])])


def target(path: str, link: str) -> str:
    """The file in the repository that a relative link in `path` means."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), link))


def repository_path(page: str) -> str:
    """The file in the repository that the links of a page of the site are relative to."""
    return page.removeprefix(f"{COPIES}/") if page.startswith(f"{COPIES}/") else f"{DOCS}/{page}"


def site_path(path: str) -> str:
    """The page of a file in the repository."""
    if path.startswith(f"{DOCS}/"):
        return path.removeprefix(f"{DOCS}/")
    return f"{COPIES}/{path}" if path.endswith(".md") else f"{COPIES}/{path}.md"


def page_of(path: Path) -> str:
    """A file as Markdown: code between fences, a notebook cell by cell, of a folder every file in it."""
    if path.is_dir():
        inside = sorted(each for each in path.rglob("*") if each.is_file() and each.suffix in LANGUAGES)
        parts = [f"## {each.relative_to(path)}\n\n{fenced(each)}" for each in inside]
        return f"# {path.name}\n\n" + "\n\n".join(parts)
    if path.suffix == ".md":
        return path.read_text()
    if path.suffix == ".ipynb":
        return "\n\n".join(map(cell_of, json.loads(path.read_text())["cells"]))
    return f"# {path.name}\n\n{fenced(path)}"


def fenced(path: Path) -> str:
    return f"~~~~~ {LANGUAGES.get(path.suffix, 'text')}\n{path.read_text().rstrip()}\n~~~~~"


def cell_of(cell: dict[str, Any]) -> str:
    """A cell of a notebook, without its outputs."""
    text = "".join(cell["source"])
    return text if cell["cell_type"] == "markdown" else f"~~~~~ python\n{text}\n~~~~~"
