"""A run directory that loses something: the end of its training, or everything."""

from __future__ import annotations

import json
import shutil
import signal

import pytest

from distgan import load_generator
from distgan.training.checkpoint import storage
from tests.support import warm
from tests.support.processes import ALONE, start, wait_for

pytestmark = pytest.mark.slow
ENDING = ("generator.safetensors", "report.html", "curves.png")


@pytest.mark.parametrize("missing", ENDING)
def test_what_is_missing_of_the_end_is_made_by_the_same_command(tiny, tmp_path, missing):
    assert warm.train(tiny()).code == 0
    path = tmp_path / "quickstart" / missing
    before = path.read_bytes()
    path.unlink()
    lines = (tmp_path / "quickstart" / "metrics.jsonl").read_bytes()
    code, output = warm.train(tiny())
    assert code == 0, output
    assert "done: 240 images; see " in output
    assert (path.read_bytes() == before) or missing == "report.html"
    assert (tmp_path / "quickstart" / "metrics.jsonl").read_bytes() == lines
    code, output = warm.train(tiny())
    assert "nothing to do: train.images=240 are seen" in output


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_between_the_last_checkpoint_and_the_report_the_same_command_makes_the_whole_end(
    tiny, tmp_path, processes
):
    """With the generator of a training that nobody killed."""
    assert warm.train(tiny("run.name=whole"), processes).code == 0
    code, output = warm.train(tiny(), processes, "killed_before_the_export")
    assert code == -9, output
    run = tmp_path / "quickstart"
    assert storage.steps(run / "checkpoints")[-1] == 20
    assert not any((run / name).exists() for name in ENDING)
    code, output = warm.train(tiny(), processes)
    assert code == 0, output
    assert output.count("done: 240 images; see ") == 1
    assert all((run / name).exists() for name in ENDING)
    digests = {load_generator(tmp_path / name / ENDING[0]).weight_digest for name in ("whole", "quickstart")}
    assert len(digests) == 1


def test_a_report_that_cannot_be_written_is_not_pointed_to_and_is_made_by_the_next_start(tiny, tmp_path):
    code, output = warm.train(tiny(), 1, "report_fails")
    assert code == 0, output
    assert "no report: " in output
    assert "see " in output
    assert "report.html, " not in output
    code, output = warm.train(tiny())
    assert "report.html, " in output
    assert (tmp_path / "quickstart" / "report.html").exists()


def test_a_run_directory_that_is_removed_is_written_again_and_that_is_said(tiny, tmp_path):
    run = tmp_path / "quickstart"
    process = start([*ALONE, *tiny("train.images=12000")], log := tmp_path / "log")
    wait_for(lambda: storage.steps(run / "checkpoints"), process)
    shutil.rmtree(run.rename(tmp_path / "removed"))  # at one moment: the training must not write in between
    wait_for(lambda: (run / "run.json").exists(), process)
    second = warm.train(tiny())
    assert second.code == 2, "the directory is locked again"
    assert "another training is writing to" in second.output
    assert process.wait(120) == 0, log.read_text()
    assert f"{run} was removed or moved: it is written again from here on" in log.read_text()
    assert "Traceback" not in log.read_text()
    for name in (*ENDING, "config.yaml", "run.json", "metrics.jsonl", "samples/reals.png"):
        assert (run / name).exists(), name
    events = [json.loads(line)["event"] for line in (run / "events.jsonl").read_text().splitlines()]
    assert events.count("directory") == 1, events


def test_a_run_directory_that_another_training_has_taken_is_left_to_it(tiny, tmp_path):
    run, endless = tmp_path / "quickstart", tiny("train.images=1200000")
    first = start([*ALONE, *endless], tmp_path / "first")
    wait_for(lambda: storage.steps(run / "checkpoints"), first)
    first.send_signal(signal.SIGSTOP)
    shutil.rmtree(run)
    second = start([*ALONE, *endless], tmp_path / "second")
    wait_for(lambda: storage.steps(run / "checkpoints"), second)
    first.send_signal(signal.SIGCONT)
    assert first.wait(60) == 2, (tmp_path / "first").read_text()
    assert f"another training is writing to {run} (process {second.pid}" in (tmp_path / "first").read_text()
    second.terminate()
    assert second.wait(60) == 143
