"""The code blocks of README and docs that are marked as runnable, and one shell that runs a page's.

`<!-- runs -->` in the line before a fence marks it; `<!-- runs; makes: FILE, FILE -->` says what must exist afterwards.
Blocks of `bash` are run in page order in one shell; a block of `python` is a script that is run at its place.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tests.support.processes import ROOT

MARKED = re.compile(
    r"^<!-- runs(?:; makes: (?P<makes>[^>]+))? -->\n+```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^```$", re.M | re.S
)
MORE = 'export DISTGAN_OVERRIDES="$DISTGAN_OVERRIDES train.images=960"\n'
"""For a block that gives a training a budget: more than the blocks before it, within a test's small one."""


class Block(NamedTuple):
    place: str
    """PAGE:LINE of its fence."""
    language: str
    code: str
    makes: tuple[str, ...]
    """Files and directories that it promises."""

    @property
    def script(self) -> str:
        """For bash: the block, then a check of what it promises."""
        budget = MORE if "train.images=" in self.code else ""
        end = "END_OF_BLOCK"
        code = self.code if self.language == "bash" else f"python - <<'{end}'\n{self.code}{end}\n"
        checks = "".join(f"test -e '{path}' || {{ echo 'no {path}'; exit 1; }}\n" for path in self.makes)
        return f"echo '== {self.place}'\n{budget}{code}{checks}"


def documents() -> list[Path]:
    """README, CONTRIBUTING and the pages of docs and launch."""
    folders = (*sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("launch/*.md")))
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *folders]


def pages() -> list[Path]:
    """Those that have a marked block."""
    return [page for page in documents() if MARKED.search(page.read_text())]


def blocks_of(page: Path) -> list[Block]:
    """In the order of the page."""
    text = page.read_text()
    made = []
    for match in MARKED.finditer(text):
        line = text.count("\n", 0, match.start("language")) + 1
        makes = tuple(name.strip() for name in (match["makes"] or "").split(",") if name.strip())
        made.append(Block(f"{page.relative_to(ROOT)}:{line}", match["language"], match["code"], makes))
    return made


def script_of(page: Path) -> str:
    """For one bash: every block, and an end at the first that fails."""
    return "set -eo pipefail\n" + "".join(block.script for block in blocks_of(page))
