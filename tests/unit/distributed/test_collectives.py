"""Collectives of one process; those of several are in tests/integration."""

from __future__ import annotations

import errno
import os

import pytest
import torch
import torch.distributed as dist

from distgan.distributed import collectives
from distgan.distributed.collectives import broadcast, gather_objects, join_again, largest, mean, on_main
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


def test_a_second_group_has_the_backend_that_it_was_asked_for(monkeypatch):
    """The first may have been of the CPU, the second of a GPU, and the other way round."""
    monkeypatch.setattr(collectives, "_meetings", [])
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    collectives.remember_group()
    dist.destroy_process_group()
    assert join_again(1.0, "gloo")
    assert dist.get_backend() == "gloo"
    dist.destroy_process_group()
    asked = []
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **_: asked.append(backend))
    assert join_again(1.0, "nccl")
    assert asked == ["nccl"]
