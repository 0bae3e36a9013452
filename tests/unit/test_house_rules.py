"""The rules of CONTRIBUTING.md that can be counted."""

from __future__ import annotations

import pytest

from tests.counts import ROOT, too_long, too_many_parameters

PUBLIC = {"scores.evaluate"}  # its options, by name, are what a user chooses


@pytest.mark.parametrize("folder", ["distgan", "benchmarks"])
def test_no_function_is_too_long_or_takes_too_many_parameters(folder):
    assert too_long(ROOT / folder) == []
    assert set(too_many_parameters(ROOT / folder)) <= PUBLIC
