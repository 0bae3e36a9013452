"""No thread is in torch's store when a process ends: Python 3.11 would abort it now and then, whatever its code."""

from __future__ import annotations

import threading
import weakref

import pytest
import torch
from accelerate import Accelerator

from distgan.distributed.accelerator import leave_group
from distgan.distributed.heartbeat import Heartbeat
from distgan.doctor.collective_checks import PeerFailures
from tests.support import warm

pytestmark = pytest.mark.slow


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def signs_of_life() -> None:
    accelerator = Accelerator(cpu=True)
    with Heartbeat(accelerator, patience=60):
        assert "heartbeat" in threads()
        accelerator.wait_for_everyone()  # rank 0 keeps the store
    assert "heartbeat" not in threads()


def word_of_failures() -> None:
    accelerator = Accelerator(cpu=True)
    peers = PeerFailures(accelerator, leave=print)
    assert "doctor" in threads()
    accelerator.wait_for_everyone()
    peers.done()
    assert "doctor" not in threads()


@pytest.mark.parametrize("life", [signs_of_life, word_of_failures])
def test_the_thread_that_looks_at_the_others_ends_before_its_process(life):
    code, output = warm.run(life, processes=2)
    assert code == 0, output


def networks_before_the_group() -> None:
    accelerator = Accelerator(cpu=True)
    circle = [accelerator.prepare(torch.nn.Linear(1, 1))]
    circle.append(circle)
    wrapped = weakref.ref(circle[0])
    del circle
    assert wrapped() is not None, "until Python looks for circles"
    leave, free = accelerator.end_training, []
    accelerator.end_training = lambda: (free.append(wrapped() is None), leave())
    leave_group(accelerator)
    assert free == [True]


def test_the_networks_are_free_before_the_group_is_left():
    """In the other order both ranks of a game hung at their end, once in some 50 games on a busy machine."""
    code, output = warm.run(networks_before_the_group, processes=2)
    assert code == 0, output
