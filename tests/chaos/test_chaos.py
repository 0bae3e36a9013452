"""A short form of chaos.py: one try of each kind of kill, and of the faults that no other test plants."""

from __future__ import annotations

import random

import pytest
from faults import KILLS, damaged_checkpoint, full_disk, possible, unwritable_directory, web_server_goes_away
from ground import Ground

pytestmark = pytest.mark.slow
TRIED = (*KILLS, damaged_checkpoint, full_disk, unwritable_directory, web_server_goes_away)


@pytest.fixture(scope="module")
def ground(tmp_path_factory) -> Ground:
    return Ground(tmp_path_factory.mktemp("chaos"), random.Random())


@pytest.mark.parametrize("fault", TRIED, ids=[fault.__name__ for fault in TRIED])
def test_nothing_is_lost(ground, fault):
    if reason := possible(fault):
        pytest.skip(reason)
    assert fault(ground) < 120
