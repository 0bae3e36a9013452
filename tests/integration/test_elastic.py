"""A worker that is lost under torchrun's elastic agent is brought back without anybody's help."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from distgan.training.checkpoint import storage
from tests.support import warm
from tests.support.processes import BIN, kill_all, run, start, wait_for

pytestmark = pytest.mark.slow
ELASTIC = ("launch/torchrun_elastic.sh",)
ENVIRONMENT = {"NPROC": "2", "PATH": f"{BIN}:{os.environ['PATH']}"}
LAST = "checkpoints/step-000000100/state.safetensors"  # 1200 images in batches of 12


@pytest.mark.parametrize("rank", [0, 1])
def test_a_worker_killed_under_the_elastic_launcher_comes_back_and_the_bits_are_those_of_undisturbed_training(
    tiny, tmp_path, rank
):
    overrides = tiny("train.images=1200")
    process = start([*ELASTIC, *overrides, "run.name=killed"], log := tmp_path / "log", **ENVIRONMENT)
    try:
        wait_for(lambda: storage.steps(tmp_path / "killed" / "checkpoints"), process)
        workers = [child for child in psutil.Process(process.pid).children() if "distgan/train.py" in child.cmdline()]
        next(worker for worker in workers if worker.environ()["RANK"] == str(rank)).send_signal(signal.SIGKILL)
        assert storage.steps(tmp_path / "killed" / "checkpoints")[-1] < 100, "it was over before the kill"
        assert process.wait(120) == 0, log.read_text()
    finally:
        if process.poll() is None:
            kill_all(process)
    assert "resumed from" in log.read_text()
    code, output = warm.train([*overrides, "run.name=whole"], 2)
    assert code == 0, output
    assert (tmp_path / "killed" / LAST).read_bytes() == (tmp_path / "whole" / LAST).read_bytes()


def test_a_mistake_under_the_elastic_launcher_is_told_once_and_ends_with_2(tiny):
    code, output = run([*ELASTIC, *tiny("train.imags=24")], **ENVIRONMENT)
    assert code == 2
    assert output.count("unknown key train.imags; nearest: train.images") == 1
