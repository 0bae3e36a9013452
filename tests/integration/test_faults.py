"""Runs that are killed, stopped, damaged and resumed, as real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from distgan import load_generator
from distgan.training.checkpoint import storage
from tests.support import warm
from tests.support.processes import ALONE, BIN, TWO, kill_all, start, wait_for
from tests.support.runs import without_measured

pytestmark = pytest.mark.slow
LAST = "step-000000020"  # 240 images in batches of 12


def weights(directory: Path) -> bytes:
    return (directory / "checkpoints" / LAST / "state.safetensors").read_bytes()


def steps_of(directory: Path) -> list[int]:
    return storage.steps(directory / "checkpoints")


def record(directory: Path) -> list[dict]:
    """The lines of metrics but for what a clock or a machine measures."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [without_measured(line) for line in lines]


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("mode", ["resident", "stream"])
def test_killed_and_resumed_training_ends_with_the_bits_of_undisturbed_training(tiny, tmp_path, processes, mode):
    """And with its record, though the lines of metrics do not begin where the checkpoints are."""
    overrides = tiny(f"data.mode={mode}", "data.workers=1", "data.shuffle_buffer=50", "log.every_steps=4")
    code, output = warm.train([*overrides, "run.name=whole"], processes)
    assert code == 0, output
    command = ALONE if processes == 1 else TWO
    process = start([*command, *overrides, "run.name=killed"], tmp_path / "log")
    wait_for(lambda: steps_of(tmp_path / "killed"), process)
    kill_all(process)
    assert steps_of(tmp_path / "killed")[-1] < 20, "it was over before the kill"
    code, output = warm.train([*overrides, "run.name=killed"], processes)
    assert code == 0, output
    assert "resumed from" in output
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    whole, killed = (load_generator(tmp_path / name / "generator.safetensors") for name in ("whole", "killed"))
    assert whole.weight_digest == killed.weight_digest
    assert record(tmp_path / "killed") == record(tmp_path / "whole")
    assert [line["images"] for line in record(tmp_path / "killed")] == [48, 96, 144, 192, 240]


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM])
def test_a_signal_saves_says_how_to_go_on_and_exits_with_its_code(tiny, tmp_path, signum):
    overrides = tiny("data.mode=stream", "data.workers=2", "data.shuffle_buffer=50", "train.images=120000")
    process = start([*ALONE, *overrides], log := tmp_path / "log")
    wait_for(lambda: steps_of(tmp_path / "quickstart"), process)
    os.killpg(process.pid, signum)  # as a terminal does: to data workers too
    os.killpg(process.pid, signum)
    assert process.wait(60) == 128 + signum
    text = log.read_text()
    assert "Traceback" not in text
    assert f"stopped by {signal.Signals(signum).name} at " in text
    assert "the same command goes on from here" in text
    newest = steps_of(tmp_path / "quickstart")[-1]
    lines = [line["images"] for line in record(tmp_path / "quickstart")]
    assert lines == list(range(60, newest * 12 + 1, 60)), "a signal adds no line of metrics"
    assert (tmp_path / "quickstart" / "generator.safetensors").exists()
    assert (tmp_path / "quickstart" / "curves.png").exists()
    code, output = warm.train([*overrides, f"train.images={(newest + 2) * 12}"])
    assert code == 0, output
    assert f"{newest * 12:,} images seen" in output


def test_two_ranks_stop_at_the_same_step_when_the_launcher_is_told_to(tiny, tmp_path):
    process = start([*TWO, *tiny("train.images=120000")], log := tmp_path / "log")
    wait_for(lambda: steps_of(tmp_path / "quickstart"), process)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(60) != 0
    assert log.read_text().count("stopped by SIGTERM at") == 1
    for written in ("generator.safetensors", "curves.png", "config.yaml"):
        assert (tmp_path / "quickstart" / written).exists(), written
    newest = steps_of(tmp_path / "quickstart")[-1]
    code, output = warm.train(tiny(f"train.images={(newest + 1) * 12}"), 2)
    assert code == 0, output
    assert f"{newest * 12:,} images seen" in output


def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(tiny, tmp_path):
    code, output = warm.train(tiny())
    assert code == 0, output
    newest = tmp_path / "quickstart" / "checkpoints" / LAST / "state.safetensors"
    expected = newest.read_bytes()
    newest.write_bytes(expected[:-1] + b"!")
    code, output = warm.train(tiny())
    assert code == 0, output
    assert f"{LAST}/state.safetensors is damaged" in output
    assert "resumed from" in output
    assert "step-000000015" in output
    assert newest.read_bytes() == expected


def test_a_second_trainer_in_the_same_run_is_refused_and_the_first_is_not_disturbed(tiny, tmp_path):
    process = start([*ALONE, *tiny("train.images=120000")], tmp_path / "log")
    wait_for(lambda: steps_of(tmp_path / "quickstart"), process)
    code, output = warm.train(tiny("train.images=120000"))
    assert code == 2
    assert f"another training is writing to {tmp_path}/quickstart (process {process.pid}" in output
    assert process.poll() is None
    kill_all(process)


def test_changes_of_the_recipe_are_refused_by_name_and_harmless_ones_are_reported(tiny, tmp_path):
    assert warm.train(tiny("train.images=60")).code == 0
    code, output = warm.train(tiny("train.images=120", "optimizer.generator.lr=0.5"))
    assert code == 2
    assert "optimizer.generator.lr: " in output
    assert "-> 0.5" in output
    code, output = warm.train(tiny("train.images=120", "log.every_steps=2"))
    assert code == 0, output
    assert "changed since then: train.images: 60 -> 120" in output
    assert "changed since then: log.every_steps: 5 -> 2" in output
    exported = tmp_path / "quickstart" / "generator.safetensors"
    digest = load_generator(exported).weight_digest
    exported.unlink()
    code, output = warm.train(tiny("train.images=120"))
    assert code == 0
    assert "done: 120 images; see " in output
    assert load_generator(exported).weight_digest == digest


def test_after_sigkill_of_the_trainer_alone_the_restart_does_not_wait_for_its_data_workers(tiny, tmp_path):
    overrides = tiny("data.mode=stream", "data.workers=2", "data.shuffle_buffer=50", "train.images=1200")
    process = start([*ALONE, *overrides], tmp_path / "log")
    wait_for(lambda: steps_of(tmp_path / "quickstart"), process)
    process.kill()
    process.wait()
    code, output = warm.train(overrides)
    assert code == 0, output
    assert "resumed from" in output


def test_a_launcher_that_dies_does_not_leave_a_trainer_that_trains_on(tiny, tmp_path):
    launcher = (str(BIN / "accelerate"), "launch", "distgan/train.py")
    process = start([*launcher, *tiny("train.images=120000")], log := tmp_path / "log")
    wait_for(lambda: steps_of(tmp_path / "quickstart"), process)
    process.kill()
    process.wait()
    end = time.monotonic() + 60
    while "everything is saved" not in log.read_text():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM])
def test_a_signal_before_training_is_a_sentence_too(tiny, tmp_path, signum):
    process = start([*ALONE, *tiny("data.mode=resident")], log := tmp_path / "log")
    wait_for(lambda: (tmp_path / "quickstart").exists(), process)
    process.send_signal(signum)
    assert process.wait(60) == 128 + signum
    assert "Traceback" not in log.read_text()
    assert f"stopped by {signal.Signals(signum).name} " in log.read_text()


def test_an_error_of_one_rank_is_one_sentence_not_a_traceback_of_the_others(tiny, shapes, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(shapes, broken)
    for shard in broken.glob("*.tar"):
        shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    overrides = [override for override in tiny("data.mode=stream") if not override.startswith("data.path")]
    code, output = warm.train([*overrides, f"data.path={broken}"], 2)
    assert code != 0
    assert "shard " in output
    assert "DataError" not in output
    assert "RuntimeError" not in output
