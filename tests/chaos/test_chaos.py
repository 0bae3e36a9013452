"""A short form of chaos.py: one try of the faults that no other test plants, at another random moment each time."""

from __future__ import annotations

import random

import faults
import pytest
from ground import Ground

pytestmark = pytest.mark.slow
TRIED = (
    faults.sigkill_of_one_rank,
    faults.sigkill_of_the_launcher,
    faults.sigkill_while_a_checkpoint_is_written,
    faults.sigkill_while_the_generator_is_exported,
    faults.full_disk,
    faults.unwritable_directory,
)


@pytest.fixture(scope="module")
def ground(tmp_path_factory) -> Ground:
    return Ground(tmp_path_factory.mktemp("chaos"), random.Random())


@pytest.mark.parametrize("fault", TRIED, ids=[fault.__name__ for fault in TRIED])
def test_nothing_is_lost(ground, fault):
    if reason := faults.possible(fault):
        pytest.skip(reason)
    assert fault(ground) < 120
