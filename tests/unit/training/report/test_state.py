"""Whether a training writes to a run, told from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from distgan.config.load import load_config
from distgan.training.report.history import History
from distgan.training.report.run_reader import RunReader
from distgan.training.report.state import duration, state_of
from distgan.training.report.write import write_report
from distgan.training.run_dir import ENDING, is_training, locked
from tests.support import warm
from tests.support.processes import ROOT


def history(images: int) -> History:
    made = History()
    made.add({"images": images, "speed/images_per_second": 50.0})
    return made


def hold(directory: str, until: str) -> None:
    """A rank that trains in a directory until a file is there."""
    from pathlib import Path

    with locked(Path(directory)):
        while not Path(until).exists():
            time.sleep(0.01)


@pytest.fixture
def config(tmp_path):
    return load_config(
        "quickstart", [f"run.dir={tmp_path}", "run.name=run", "train.images=1000", "train.batch_size=20"]
    )


def test_a_lock_of_another_process_is_seen_and_not_touched(tmp_path, config):
    run = tmp_path / "run"
    ranks = warm.start_ranks(hold, (str(run), str(tmp_path / "end")), [tmp_path / "log"])
    try:
        end = time.monotonic() + 60
        while not is_training(run):
            assert time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.01)
        assert state_of(run, History(), config).word == "starting"
        assert state_of(run, history(500), config).word == "training"
        assert state_of(run, history(500), config).seconds_left == 10
        assert state_of(run, history(1000), config).word == "finishing"
    finally:
        (tmp_path / "end").touch()
        ranks[0].join(60)
    assert not is_training(run)
    with locked(run):
        pass


def test_a_report_that_a_training_writes_of_itself_leaves_it_its_lock(tmp_path):
    code = "import sys, pathlib; from distgan.training.run_dir import RunLock; RunLock(pathlib.Path(sys.argv[1]))"
    run = tmp_path / "run"

    def take() -> str:
        """What another training says that wants the run; nothing if it gets it."""
        command = [sys.executable, "-c", code, str(run)]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stderr

    with locked(run):
        (run / "metrics.jsonl").write_text('{"images": 8, "loss/d": 1.0}\n')
        write_report(run)
        assert is_training(run)
        assert "another training is writing to" in take()
    assert not is_training(run)
    assert take() == ""


def test_a_run_that_is_not_there_or_has_no_line_is_waited_for(tmp_path, config):
    run = tmp_path / "run"
    state = state_of(run, History(), config)
    assert (state.word, state.images, state.rate, state.seconds_left) == ("waiting", 0, None, None)
    assert f"There is no {run} yet" in state.text
    run.mkdir()
    assert state_of(run, History(), None).word == "waiting"


def test_a_run_without_its_end_has_stopped(tmp_path, config):
    (tmp_path / "run").mkdir()
    state = state_of(tmp_path / "run", history(500), config)
    assert state.word == "stopped"
    assert state.seconds_left is None


@pytest.mark.parametrize(("at", "word"), [(1000, "ended"), (500, "ended"), (400, "stopped"), (None, "stopped")])
def test_a_run_has_ended_where_its_end_was_written_and_nothing_followed(tmp_path, config, at, word):
    run = tmp_path / "run"
    run.mkdir()
    for name in ENDING:
        (run / name).touch()
    (run / "run.json").write_text(json.dumps({"directory": str(run), "ended_at_images": at}))
    assert state_of(run, history(500), config).word == word


def test_a_run_of_an_old_version_has_ended_where_its_files_are_there(tmp_path, config):
    (tmp_path / "run").mkdir()
    for name in ENDING:
        (tmp_path / "run" / name).touch()
    assert state_of(tmp_path / "run", history(500), config).word == "ended"


@pytest.mark.parametrize(("age", "word"), [(5, "training"), (1000, "stopped")])
def test_a_training_on_another_machine_is_told_by_its_files(tmp_path, config, age, word):
    run = tmp_path / "run"
    run.mkdir()
    (run / ".lock").write_text("process 7 on node-17")
    (run / "metrics.jsonl").touch()
    os.utime(run / "metrics.jsonl", (time.time() - age,) * 2)
    assert state_of(run, history(500), config).word == word


@pytest.mark.parametrize(("seconds", "text"), [(42.4, "42 s"), (400, "6.7 minutes"), (9000, "2.5 hours")])
def test_times_are_told_in_a_unit_that_fits(seconds, text):
    assert duration(seconds) == text


def test_a_run_that_a_signal_has_stopped_says_so_until_it_is_killed_later(tmp_path):
    end = {
        "images": 208,
        "time": "now",
        "event": "end",
        "text": "stopped by SIGINT; the same command goes on from here",
    }
    (tmp_path / "metrics.jsonl").write_text('{"images": 160}\n')
    (tmp_path / "events.jsonl").write_text(json.dumps(end) + "\n")
    state = RunReader(tmp_path).read().state
    assert (state.word, state.images) == ("stopped", 208)
    assert state.text == "No training is running: stopped by SIGINT; the same command goes on from here."
    (tmp_path / "metrics.jsonl").write_text('{"images": 160}\n{"images": 320}\n')
    state = RunReader(tmp_path).read().state
    assert (state.word, state.images) == ("stopped", 320)
    assert "SIGINT" not in state.text
