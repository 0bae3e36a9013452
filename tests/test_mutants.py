"""Every planted fault is noticed by a test of those that CI runs, and its text is still in the package."""

from __future__ import annotations

import pytest

from tests import mutants


@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=lambda mutant: mutant.area)
def test_a_fault_can_be_planted(mutant, tmp_path):
    mutants.copy_into(tmp_path, mutant)
    compile((tmp_path / mutant.file).read_text(), mutant.file, "exec")


@pytest.mark.long
@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=lambda mutant: mutant.area)
def test_a_planted_fault_fails_a_test(mutant):
    test, _ = mutants.caught_by(mutant)
    assert test
