"""Exact numerics: set inside, and left as they were, whatever other threads do."""

from __future__ import annotations

import threading

import pytest
import torch

from distgan.utils.numerics import exact_numerics

CPU = torch.device("cpu")


def flags() -> tuple[bool, bool, bool, bool]:
    cudnn = torch.backends.cudnn
    return cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32


@pytest.fixture(autouse=True)
def before():
    """Flags that differ from those inside, all but `enabled`."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=True):
        yield flags()


EXACT = (True, False, True, False)


def test_flags_are_set_inside_and_restored_after_an_error_too(before):
    def fail():
        with exact_numerics(CPU):
            assert flags() == EXACT
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert flags() == before


def test_one_inside_another_restores_at_the_outer_end(before):
    with exact_numerics(CPU):
        with exact_numerics(CPU):
            assert flags() == EXACT
        assert flags() == EXACT
    assert flags() == before


def test_products_are_float32_under_the_caller_s_autocast_unless_half_is_asked_for():
    x = torch.ones(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with exact_numerics(CPU):
            assert (x @ x).dtype == torch.float32
        with exact_numerics(CPU, torch.bfloat16):
            assert (x @ x).dtype == torch.bfloat16


def test_two_threads_first_in_first_out_leave_the_flags_as_they_were(before):
    both_inside, first_left = threading.Barrier(2), threading.Event()
    seen = {}

    def first():
        with exact_numerics(CPU):
            both_inside.wait(30)
        seen["after the first left"] = flags()
        first_left.set()

    def second():
        with exact_numerics(CPU):
            both_inside.wait(30)
            assert first_left.wait(30)
            seen["in the second"] = flags()

    threads = [threading.Thread(target=first)]
    threads[0].start()
    while flags() == before:  # until the first is in, so that it is the one that saved them
        pass
    threads.append(threading.Thread(target=second))
    threads[1].start()
    for thread in threads:
        thread.join(60)
    assert seen == {"after the first left": EXACT, "in the second": EXACT}
    assert flags() == before


def test_many_threads_in_any_order_leave_the_flags_as_they_were(before):
    def work():
        for _ in range(200):
            with exact_numerics(CPU):
                assert flags() == EXACT

    failures = []
    threads = [threading.Thread(target=lambda: failures.append(_failure(work))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == [None] * 4
    assert flags() == before


def _failure(work):
    try:
        work()
    except BaseException as error:
        return error
    return None
