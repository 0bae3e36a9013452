"""Lines of the report, checks that raise or hang, numbers for people."""

from __future__ import annotations

import time

import pytest

from distgan.doctor.check_result import (
    existing_directory,
    fail,
    format_bytes,
    format_seconds,
    ok,
    run_check,
    summary,
    warn,
)
from distgan.utils.errors import DataError
from tests.unit.doctor.results import GIB, lines


def test_a_line_holds_level_check_facts_and_advice():
    assert ok("disk", "1 GiB free").line() == "ok    disk: 1 GiB free"
    assert warn("disk", "1 GiB free", "make room").line() == "warn  disk: 1 GiB free; make room"
    assert fail("disk", "0 free", "make room").line() == "FAIL  disk: 0 free; make room"
    assert summary([ok("a", ""), fail("b", "", "x")], 1.0) == "1 failed, 0 warning(s), 1 ok (1.0 s)"


def test_a_check_that_crashes_or_hangs_is_a_warning_and_one_with_a_sentence_fails():
    def crash():
        raise ZeroDivisionError("by zero")

    def sentence():
        raise DataError("the shard is gone")

    assert lines(run_check("x", crash)) == [
        "warn  x: could not be checked (ZeroDivisionError: by zero); check this yourself; the other lines are valid"
    ]
    assert lines(run_check("x", lambda: time.sleep(5) or [], 0.1)) == [
        "warn  x: did not end within 0 s; a disk, driver or server may hang; the other lines are valid"
    ]
    assert lines(run_check("x", sentence)) == ["FAIL  x: the shard is gone; fix that and run this again"]
    assert run_check("x", lambda: [ok("x", "y")]) == [ok("x", "y")]


def test_numbers_are_formatted_for_people(tmp_path):
    assert [format_bytes(n) for n in (5, 1536, 3 * GIB)] == ["5 bytes", "1.5 KiB", "3.0 GiB"]
    assert [format_seconds(n) for n in (0.01, 5, 600, 3725, 200_000)] == [
        "10.0 ms", "5.0 s", "10 min", "1 h 2 min", "2 d 7 h",
    ]  # fmt: skip
    assert existing_directory(tmp_path / "a" / "b") == tmp_path
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        existing_directory(tmp_path / "file" / "b")
