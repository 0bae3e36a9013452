"""The table of all kinds in docs/extending.md, made from the registries.

python -m tests.support.kinds   # writes it again
"""

from __future__ import annotations

import textwrap

from benchmarks.common.markdown import filled
from distgan.config import schema as schema  # fills the registries
from distgan.config.registry import REGISTRIES
from tests.support.processes import ROOT

PAGE = ROOT / "docs" / "extending.md"
ORDER = (
    *("generator", "discriminator", "loss", "penalty", "augmentation", "optimizer"),
    *("source", "extractor", "metric", "tracker", "controller"),
)


def table() -> str:
    """A row for each kind, then the contracts."""
    rows = ["| kind | chosen by | names | entry points |", "| --- | --- | --- | --- |"]
    for kind in ORDER:
        each = REGISTRIES[kind]
        names = ", ".join(f"`{name}`" for name in each.entries)
        rows.append(f"| {kind} | `{each.key}` | {names} | `{each.group}` |")
    contracts = [f"**{kind}**: {' '.join(REGISTRIES[kind].contract.split())}" for kind in ORDER]
    return "\n".join([*rows, "", *("\n".join(textwrap.wrap(text, 125)) + "\n" for text in contracts)]).rstrip()


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE, "kinds", table()))
