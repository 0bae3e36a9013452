"""Data workers that are stopped or killed while a training waits for their batches."""

from __future__ import annotations

import signal
import time

import psutil
import pytest

from distgan.training.checkpoint import storage
from tests.support import warm
from tests.support.processes import ALONE, TWO, start, wait_for

pytestmark = pytest.mark.slow
STREAM = ("data.mode=stream", "data.workers=2", "data.shuffle_buffer=50", "train.images=1200000")
WAY_OUT = "give a container more (docker run --shm-size=8g), or set data.workers=0"


def steps_of(tmp_path) -> list[int]:
    return storage.steps(tmp_path / "quickstart" / "checkpoints")


def workers(process) -> list[psutil.Process]:
    """The children of the only process, or of rank 1 under a launcher."""
    family = psutil.Process(process.pid).children(recursive=True)
    rank = [child for child in family if child.environ().get("RANK") == "1"]
    return rank[0].children() if rank else psutil.Process(process.pid).children()


@pytest.fixture
def trained(tiny, tmp_path):
    """A training that has a checkpoint and two workers, and its log."""

    def begin(command, *more):
        process = start([*command, *tiny(*STREAM, *more)], log := tmp_path / "log")
        wait_for(lambda: steps_of(tmp_path), process)
        return process, log

    return begin


def test_a_signal_ends_the_wait_for_a_stopped_worker_at_once_and_saves(trained, tiny, tmp_path):
    process, log = trained(ALONE)
    own = workers(process)
    own[0].suspend()
    time.sleep(2)
    begin = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    assert time.monotonic() - begin < 15
    text = log.read_text()
    assert "Traceback" not in text
    assert "stopped by SIGTERM at" in text
    newest = steps_of(tmp_path)[-1]
    assert f"at {12 * newest:,} images; everything is saved" in text
    assert psutil.wait_procs(own, timeout=15)[1] == [], "a stopped worker would stay for ever"
    code, output = warm.train(tiny(*STREAM[:-1], f"train.images={12 * (newest + 1)}"))
    assert code == 0, output
    assert f"{12 * newest:,} images seen" in output


def test_after_the_timeout_a_stopped_worker_ends_training_with_a_sentence_and_everything_saved(trained, tmp_path):
    process, log = trained(ALONE, "train.timeout_minutes=0.05")
    stopped = workers(process)[0]
    stopped.suspend()
    assert process.wait(40) == 3
    text = log.read_text()
    assert "Traceback" not in text
    assert f"process {stopped.pid}: stopped" in text
    assert f"{WAY_OUT}; all {12 * steps_of(tmp_path)[-1]:,} images are saved, the same command goes on" in text


def test_a_killed_worker_ends_training_with_a_sentence_and_everything_saved(trained, tmp_path):
    process, log = trained(ALONE)
    victim = workers(process)[0]
    victim.send_signal(signal.SIGBUS)
    assert process.wait(40) == 3
    text = log.read_text()
    assert "Traceback" not in text
    assert f"a data worker (process {victim.pid}) was killed by SIGBUS (is memory full?); " in text
    assert f"all {12 * steps_of(tmp_path)[-1]:,} images are saved" in text


def test_of_two_processes_the_one_whose_worker_is_stopped_says_the_same_before_the_other_misses_it(trained):
    process, log = trained(TWO, "train.timeout_minutes=0.2")
    stopped = workers(process)[0]
    stopped.suspend()
    assert process.wait(60) != 0
    text = log.read_text()
    assert f"process {stopped.pid}: stopped" in text
    assert WAY_OUT in text
    assert "rank 1 has ended: the data workers (" in text
