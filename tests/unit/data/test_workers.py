from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
import torch

from distgan.data import workers as module
from distgan.data.workers import batches_of_workers
from distgan.utils.errors import DataError, Stalled
from tests.support.processes import ROOT


def numbers(first: int) -> Iterator[torch.Tensor]:
    """What the first of two workers makes."""
    for number in itertools.count(first, 2):
        yield torch.tensor(number)


def slow_numbers(first: int) -> Iterator[torch.Tensor]:
    for number in numbers(first):
        time.sleep(1.5 * module.TICK)
        yield number


def damage(first: int) -> Iterator[torch.Tensor]:
    yield torch.tensor(first)
    raise DataError("shard 3 is damaged")


@pytest.fixture
def children() -> Callable[[], list[psutil.Process]]:
    """The workers of a test; another test's may still be ending."""
    before = multiprocessing.active_children()
    return lambda: [psutil.Process(child.pid) for child in multiprocessing.active_children() if child not in before]


def end_of(batches: Iterator[torch.Tensor]) -> str:
    """The error after the batches that were made before the fault."""
    with pytest.raises(Stalled) as caught:
        list(itertools.islice(batches, 100))
    return str(caught.value)


def test_two_workers_give_all_batches_in_order():
    batches = batches_of_workers(numbers, 6, 2, False, lambda _: False)
    assert [int(next(batches)) for _ in range(5)] == [6, 7, 8, 9, 10]
    batches.close()


def test_a_program_ends_that_never_closes_its_batches():
    script = (
        "import tests.unit.data.test_workers as t\n"
        "batches = t.batches_of_workers(t.numbers, 6, 2, False, lambda _: False)\n"
        "print(int(next(batches)))\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout) == (0, "6\n")


def test_a_slow_worker_is_waited_for_and_the_seconds_are_told():
    told: list[float] = []
    batches = batches_of_workers(slow_numbers, 0, 2, False, lambda seconds: bool(told.append(seconds)))
    assert [int(next(batches)) for _ in range(4)] == [0, 1, 2, 3]
    assert told
    assert max(told) < 3
    batches.close()


def test_a_stopped_worker_is_given_up_when_the_caller_says_so_named_and_ended(children):
    batches = batches_of_workers(numbers, 0, 2, False, lambda seconds: seconds > 1.5)
    next(batches)
    own = children()
    own[0].suspend()
    said = end_of(batches)
    assert f"process {own[0].pid}: stopped" in said
    assert "/dev/shm" in said
    assert "data.workers=0" in said
    gone, alive = psutil.wait_procs(own, timeout=10)
    assert (len(gone), alive) == (2, [])


def test_a_killed_worker_is_named_with_its_signal_and_only_while_a_batch_is_waited_for(children):
    """Not by an error out of a signal handler, between any two lines of the trainer."""
    before = signal.getsignal(signal.SIGCHLD)
    batches = batches_of_workers(numbers, 0, 2, False, lambda _: False)
    next(batches)
    victim = children()[0].pid
    os.kill(victim, signal.SIGBUS)
    time.sleep(0.3)  # DataLoader's own handler would raise here
    assert signal.getsignal(signal.SIGCHLD) == before
    said = end_of(batches)
    assert said.startswith(f"a data worker (process {victim}) was killed by SIGBUS (is memory full?); they need memory")


def test_a_worker_that_is_still_dying_when_its_pipe_breaks_is_named(children, monkeypatch):
    kept = []

    def breaks(items, ready, closing):
        kept.append(items)  # its end would end the workers
        ready.put(EOFError())

    monkeypatch.setattr(module, "_pass_on", breaks)
    batches = batches_of_workers(numbers, 0, 2, False, lambda _: False)
    threading.Timer(1.0, lambda: os.kill(children()[0].pid, signal.SIGKILL)).start()
    assert "was killed by SIGKILL" in end_of(batches)


def test_an_error_of_a_worker_is_told_as_its_own():
    batches = batches_of_workers(damage, 0, 2, False, lambda _: False)
    with pytest.raises(DataError, match="^shard 3 is damaged$"):
        list(batches)


def test_workers_ignore_the_signals_that_stop_the_trainer(monkeypatch):
    handlers = {}
    monkeypatch.setattr(signal, "signal", lambda number, handler: handlers.update({number: handler}))
    module._ignore_signals()
    assert handlers == dict.fromkeys((signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM), signal.SIG_IGN)
