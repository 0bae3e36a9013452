from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from distgan.distributed import launcher
from distgan.distributed.signals import STOPPING, Signals
from distgan.distributed.stop import StopReason, StopSignal
from tests.support.processes import ROOT

NAMES = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"]


def handlers() -> list:
    return [signal.getsignal(signum) for signum in STOPPING]


@pytest.mark.parametrize("name", NAMES)
def test_a_signal_becomes_a_decision_and_the_first_one_counts(name):
    before, signum = handlers(), getattr(signal, name)
    with Signals() as signals:
        signals.begin()
        stop = StopSignal(1.0, signals)
        assert stop.agreed() == StopReason.NONE
        os.kill(os.getpid(), signum)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.agreed() == StopReason[name]
        assert stop.agreed().exit_code == 128 + signum
    assert handlers() == before


def test_a_signal_never_interrupts_what_the_process_is_doing():
    """An error out of a handler would come between any two lines of any library, which may take it for its own."""
    with Signals() as signals:
        signals.begin()
        for signum in STOPPING:
            os.kill(os.getpid(), signum)
        time.sleep(0.01)
        assert signals.received in STOPPING


def test_a_hangup_stays_ignored_under_nohup():
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signals.received is None
    finally:
        signal.signal(signal.SIGHUP, old)


def test_a_thread_receives_no_signals_and_raises_nothing():
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with Signals() as signals:
                signals.begin()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failures


BEFORE = """
import ctypes, sys, time
from distgan.distributed.signals import Signals
from distgan.utils.log import show_on_terminal
show_on_terminal()
with Signals() as signals:
    if sys.argv[1]:
        signals.lost_ranks = lambda: sys.argv[1]
    print("ready", flush=True)
    while True:
        time.sleep(0.01)
"""


@pytest.mark.parametrize("name", ["SIGHUP", "SIGQUIT", "SIGTERM"])
@pytest.mark.parametrize("lost", ["", "rank 1 does not answer"])
def test_before_training_a_signal_ends_the_process_and_a_lost_rank_is_named(name, lost):
    process = subprocess.Popen(
        [sys.executable, "-c", BEFORE, lost], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(getattr(signal, name))
    _, said = process.communicate(timeout=30)
    if lost:
        assert said == f"{name} before training began, nothing was lost: {lost}\n"
        assert process.returncode == 3
    else:
        assert said == f"stopped by {name} before training began; nothing was lost\n"
        assert process.returncode == 128 + getattr(signal, name)


CHILD = (
    "import os; from distgan.distributed import launcher; print(launcher.LAUNCHER == os.getppid(), launcher.LAUNCHER)"
)


def started_by(command: list[str]) -> str:
    env = os.environ | {"ACCELERATE_MIXED_PRECISION": "no", "CHILD": CHILD, "PYTHON": sys.executable}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout.strip()


def test_a_shell_with_a_launcher_s_variables_is_no_launcher():
    assert started_by(["/bin/sh", "-c", '"$PYTHON" -c "$CHILD"; true']) == "False None"


def test_a_python_program_that_sets_a_launcher_s_variables_is_a_launcher():
    parent = 'import os, subprocess; subprocess.run([os.environ["PYTHON"], "-c", os.environ["CHILD"]])'
    assert started_by([sys.executable, "-c", parent]).startswith("True ")


def test_without_its_variables_no_parent_is_a_launcher():
    assert launcher.find_launcher({"PATH": "/bin"}) is None


LATE_IMPORT = """
import os, subprocess, sys
code = "import os, time; [time.sleep(0.05) for _ in iter(lambda: os.getppid() == {parent}, False)]; " \
    "from distgan.distributed import launcher; print(launcher.launcher_died(), flush=True)"
subprocess.Popen([sys.executable, "-c", code.format(parent=os.getpid())])
"""


@pytest.mark.parametrize("restart_count", ["0", None])
def test_a_rank_whose_launcher_died_before_the_first_import_knows_it(restart_count):
    env = {**os.environ, "PYTHONPATH": str(ROOT)} | (
        {"TORCHELASTIC_RESTART_COUNT": restart_count} if restart_count else {}
    )
    done = subprocess.run([sys.executable, "-c", LATE_IMPORT], env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{restart_count is not None}\n"  # a program that somebody left running is no orphan


def test_the_end_of_the_launcher_is_a_reason_of_its_own_with_the_exit_code_of_sigterm(monkeypatch):
    monkeypatch.setattr(launcher, "LAUNCHER", os.getppid() + 1)
    reason = StopSignal(1.0).agreed()
    assert reason == StopReason.LAUNCHER_ENDED
    assert str(reason) == "the end of the launcher"
    assert reason.exit_code == 143
