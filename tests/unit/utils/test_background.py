"""Calls with a time limit: the result, what the call raises, or CallTimeout."""

from __future__ import annotations

import threading
import time

import pytest

from distgan.utils.background import CallTimeout, call_with_timeout


def test_a_call_in_time_hands_over_its_result_also_none():
    assert call_with_timeout(60, lambda: 3) == 3
    assert call_with_timeout(60, lambda: None) is None


def test_what_the_call_raises_is_raised_to_the_caller():
    def raises():
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        call_with_timeout(60, raises)


def test_a_call_that_hangs_is_left_to_itself():
    ending = threading.Event()
    start = time.monotonic()
    with pytest.raises(CallTimeout, match="no answer in 0 s"):
        call_with_timeout(0.05, lambda: ending.wait(60))
    assert time.monotonic() - start < 30
    ending.set()
