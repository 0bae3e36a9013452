"""Collectives of one process; those of several are in tests/integration."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from distgan.distributed.collectives import broadcast, gather_objects, largest, mean, on_main
from distgan.utils.errors import DataError, LaunchError


def test_one_process_hears_itself():
    values = torch.tensor([1.0, 2.0])
    assert broadcast("a") == "a"
    assert gather_objects(3) == [3]
    assert on_main(lambda: 4) == 4
    assert torch.equal(mean(values.clone()), values)
    assert torch.equal(largest(values.clone()), values)


def test_an_error_of_the_system_is_a_sentence_and_one_of_ours_is_for_all_ranks():
    def full():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def damaged():
        raise DataError("a shard is damaged")

    with pytest.raises(LaunchError, match="No space left"):
        on_main(full)
    with pytest.raises(DataError) as raised:
        on_main(damaged)
    assert raised.value.everywhere
