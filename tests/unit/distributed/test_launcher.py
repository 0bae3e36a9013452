from __future__ import annotations

import pytest

from distgan.distributed.launcher import check_launcher
from distgan.utils.errors import LaunchError

PLACE = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "host", "MASTER_PORT": "29500"}


def test_what_launchers_set_is_taken():
    check_launcher(PLACE)
    check_launcher({"RANK": "left over", "ACCELERATE_USE_CPU": "True"})
    check_launcher({})


@pytest.mark.parametrize("name", ["WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_PORT"])
@pytest.mark.parametrize("value", ["x", "-1", "1.5", "٣"])
def test_a_number_that_is_none_is_a_sentence(name, value):
    with pytest.raises(LaunchError, match=f"^{name}={value} is no number; launchers set it"):
        check_launcher(PLACE | {name: value})


def test_a_flag_of_accelerate_that_is_neither_true_nor_false_is_a_sentence():
    with pytest.raises(LaunchError, match="^ACCELERATE_USE_CPU=maybe is neither true nor false"):
        check_launcher({"ACCELERATE_USE_CPU": "maybe"})
