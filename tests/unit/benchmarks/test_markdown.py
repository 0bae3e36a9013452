"""Tables in the documentation."""

from __future__ import annotations

import pytest

from benchmarks.common.markdown import filled
from distgan.utils.errors import ConfigError


def test_only_what_is_between_the_marks_is_replaced(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bytes: begin -->\nold\n<!-- bytes: end -->\nafter\n<!-- other: begin -->\n")
    assert filled(page, "bytes", r"\1 new") == page.read_text().replace("old", r"\1 new")
    with pytest.raises(ConfigError, match="has no place for the table: put <!-- other: begin --> and <!-- other: end"):
        filled(page, "other", "new")
