"""chaos.py in pytest: CI tries on short runs the faults that no other test plants, the long tier all on long runs.

Each is tried once, at another random moment each time; `chaos.py` tries them often and writes docs/reliability.md.
"""

from __future__ import annotations

import random

import pytest

from tests.chaos import faults
from tests.chaos.ground import Ground

SHORT = (
    faults.sigkill_of_one_rank,
    faults.sigkill_of_the_launcher,
    faults.sigkill_while_a_checkpoint_is_written,
    faults.sigkill_while_the_generator_is_exported,
    faults.full_disk,
    faults.unwritable_directory,
)
ALL = (*faults.KILLS, *faults.OTHERS, *faults.NEEDS_ROOT)


def try_out(fault, ground: Ground) -> None:
    if reason := faults.possible(fault):
        pytest.skip(reason)
    assert fault(ground) < 120


@pytest.fixture(scope="module")
def short_runs(tmp_path_factory) -> Ground:
    """Of 100 steps and five checkpoints."""
    return Ground(tmp_path_factory.mktemp("chaos"), random.Random(), images=1200, life=6.0)


@pytest.fixture(scope="module")
def long_runs(tmp_path_factory) -> Ground:
    return Ground(tmp_path_factory.mktemp("chaos"), random.Random())


@pytest.mark.slow
@pytest.mark.parametrize("fault", SHORT, ids=[fault.__name__ for fault in SHORT])
def test_nothing_is_lost(short_runs, fault):
    try_out(fault, short_runs)


@pytest.mark.long
@pytest.mark.parametrize("fault", ALL, ids=[fault.__name__ for fault in ALL])
def test_nothing_is_lost_in_long_runs(long_runs, fault):
    try_out(fault, long_runs)
