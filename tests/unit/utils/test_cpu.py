"""Freed memory stays with the process: seen in the page faults of a process of its own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

LOOP = """
import resource, sys
from distgan.utils.cpu import keep_freed_memory
kept = sys.argv[1] == "kept" and keep_freed_memory()
assert kept == (sys.argv[1] == "kept")
import numpy
def step():
    blocks = [numpy.ones(4_000_000, dtype=numpy.float32) for _ in range(8)]
for _ in range(2):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    return int(subprocess.run([sys.executable, "-c", LOOP, mode], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="for glibc only")
def test_a_step_that_takes_what_the_last_one_freed_has_no_page_to_be_cleared():
    assert faults("given back") > 10_000, "4 KiB pages of 8 blocks of 16 MB, five times"
    assert faults("kept") < 100


def test_elsewhere_nothing_is_done(monkeypatch):
    from distgan.utils import cpu

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not cpu.keep_freed_memory()


def test_threads_spin_briefly_unless_the_user_says_how_long(monkeypatch):
    from distgan.utils import cpu

    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    cpu.spin_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == "10000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    cpu.spin_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == "7"


def test_it_is_said_before_torch_is_imported():
    look = "import sys, distgan.train as t; t.cpu.spin_briefly = lambda: print('torch' in sys.modules);"
    done = subprocess.run(
        [sys.executable, "-c", f"{look} t.main(['--print-config'])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("False\n")
