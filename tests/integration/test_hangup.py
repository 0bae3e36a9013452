"""What a closed terminal does to a training, with and without launcher and nohup; a shell's leftover variables."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest

from distgan.training.checkpoint import storage
from tests.support.processes import ALONE, BIN, TWO, start, wait_for

pytestmark = pytest.mark.slow
ACCELERATE = (str(BIN / "accelerate"), "launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0")


def steps_of(tmp_path) -> list[int]:
    return storage.steps(tmp_path / "quickstart" / "checkpoints")


def ended(log) -> str:
    """The log once a trainer has said that it stopped; its launcher may be gone."""
    end = time.monotonic() + 60
    while "everything is saved" not in log.read_text():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)
    return log.read_text()


@pytest.mark.parametrize("launcher", [TWO, (*ACCELERATE, "distgan/train.py")], ids=["torchrun", "accelerate"])
@pytest.mark.parametrize("nohup", [(), ("nohup",)], ids=["plain", "nohup"])
def test_a_hangup_under_a_launcher_saves_on_both_ranks(tiny, tmp_path, launcher, nohup):
    """These launchers take the signal that nohup has them ignore, and hand it on."""
    process = start([*nohup, *launcher, *tiny("train.images=1200000")], log := tmp_path / "log")
    wait_for(lambda: steps_of(tmp_path), process)
    os.killpg(process.pid, signal.SIGHUP)
    assert process.wait(60) != 0
    text = ended(log)
    assert text.count("stopped by SIGHUP at") == 1
    assert f"at {12 * steps_of(tmp_path)[-1]:,} images" in text


def test_under_nohup_a_training_of_one_process_goes_on_after_a_hangup(tiny, tmp_path):
    process = start(["nohup", *ALONE, *tiny("train.images=1200000")], log := tmp_path / "log")
    wait_for(lambda: steps_of(tmp_path), process)
    process.send_signal(signal.SIGHUP)
    seen = steps_of(tmp_path)[-1]
    wait_for(lambda: steps_of(tmp_path)[-1] > seen + 10, process)
    process.terminate()
    assert process.wait(60) == 143
    assert "stopped by SIGTERM at" in log.read_text()


def test_a_shell_that_has_a_launcher_s_variables_may_end_before_its_background_job(tiny, tmp_path):
    """They were exported by hand, or are left over: no launcher has started this trainer."""
    overrides = " ".join(f"'{option}'" for option in tiny("train.images=1200000"))
    shell = f"{' '.join(ALONE)} {overrides} & echo $! > {tmp_path}/pid; sleep 1000"
    variables = {"ACCELERATE_MIXED_PRECISION": "no", "TORCHELASTIC_RUN_ID": "left"}
    process = start(["/bin/sh", "-c", shell], log := tmp_path / "log", **variables)
    wait_for(lambda: steps_of(tmp_path), process)
    trainer = psutil.Process(int((tmp_path / "pid").read_text()))
    process.kill()
    process.wait()
    seen = steps_of(tmp_path)[-1]
    end = time.monotonic() + 60
    while steps_of(tmp_path)[-1] <= seen + 10:
        assert time.monotonic() < end
        assert trainer.is_running(), log.read_text()
        time.sleep(0.1)
    trainer.terminate()
    assert "stopped by SIGTERM at" in ended(log)
