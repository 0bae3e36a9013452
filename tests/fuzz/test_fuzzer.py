"""The fuzzer, in short, and that it finds what it is there to find."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from distgan.utils.errors import DataError
from tests.fuzz import targets

FUZZ = (sys.executable, "-m", "tests.fuzz")


@pytest.mark.slow
def test_a_short_run_finds_nothing(tmp_path):
    command = [*FUZZ, "--seconds", "3", "--seed", "1", "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("0 findings") == len(targets.TARGETS)


@pytest.mark.long
@pytest.mark.parametrize("name", targets.TARGETS)
def test_a_minute_finds_nothing(name, tmp_path):
    command = [*FUZZ, "--target", name, "--seconds", "60", "--keep", str(tmp_path)]
    done = subprocess.run([*command, "--seed", str(random.randrange(10**6))], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_case_is_the_same_whenever_it_is_made(good, tmp_path):
    import shutil
    from random import Random

    for name, target in targets.TARGETS.items():
        made = []
        for attempt in ("1", "2"):
            shutil.copytree(good(name), tmp_path / name / attempt)
            target.forge(Random(f"{name} 0 7"), tmp_path / name / attempt)
            made.append(targets.tree(tmp_path / name / attempt))
        assert made[0] == made[1]


def _spin():
    while True:
        pass


def _fill():
    bytearray(b"x") * (400 << 20)


@pytest.mark.parametrize(
    ("read", "finding"),
    [
        (lambda: 1 / 0, "ZeroDivisionError"),
        (_spin, "hang"),
        (_fill, "memory"),
        (
            lambda: exec(
                'raise DataError("x")', {"DataError": type("DataError", (DataError,), {"__str__": lambda _: "\x1b"})}
            ),
            "control",
        ),
        (
            lambda: (_ for _ in ()).throw(type("Long", (DataError,), {"__str__": lambda _: "x" * 9999})()),
            "a sentence of 9,999",
        ),
    ],
)
def test_a_reader_that_does_what_it_should_not_is_found(monkeypatch, read, finding):
    if finding == "hang":
        monkeypatch.setattr(targets, "SECONDS", 1)
    assert finding in targets.judge_apart(read).finding
    assert targets.judge_apart(lambda: None) == targets.Outcome("")
