"""Every test that docs/faults.md names is there."""

from __future__ import annotations

import re

from tests.support.processes import ROOT


def test_every_test_that_the_table_of_faults_names_exists():
    text = (ROOT / "docs" / "faults.md").read_text()
    named = set(re.findall(r"`((?:unit|integration|fuzz)/[\w/]+\.py)(?:::(\w+))?`", text))
    assert len(named) > 50
    for file, name in named:
        path = ROOT / "tests" / file
        assert path.is_file(), file
        assert not name or f"def {name}(" in path.read_text(), f"{file}::{name}"
