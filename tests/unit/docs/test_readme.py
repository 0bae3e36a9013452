"""The pages that a code host shows first: short, and with no link that leads nowhere."""

from __future__ import annotations

import re

import pytest

from tests.support.processes import ROOT

PAGES = ("README.md", "CONTRIBUTING.md", "launch/README.md")
LINK = re.compile(r"\]\(([^)\s#]+)[^)]*\)")


def test_the_readme_is_short():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 150
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("name", PAGES)
def test_every_link_to_a_file_leads_to_one(name):
    page = ROOT / name
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert links
    assert [link for link in links if not (page.parent / link).exists()] == []
