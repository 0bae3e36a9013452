"""Evaluations of a training of two processes: the scores of one, ended together, told once."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from distgan import load_generator
from distgan.training.checkpoint import storage
from tests.support import warm
from tests.support.config import SCORED
from tests.support.processes import TORCHRUN, kill_all, run, start, wait_for

pytestmark = pytest.mark.slow
PLANTED = "tests/support/faulty_trainer.py"
TWO_PLANTED = (*TORCHRUN, "2", PLANTED)
FD = "fd_efficientnet_lite0"


@pytest.fixture(scope="module")
def env(tmp_path_factory) -> dict[str, str]:
    """A cache of their own, which has the real images after the first."""
    return {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")), "PYTHONPATH": "."}


@pytest.fixture
def scored(tiny):
    return lambda *more: tiny(*SCORED, *more)


def lines(directory: Path) -> list[dict]:
    return [json.loads(line) for line in (directory / "scores.jsonl").read_text().splitlines()]


def test_two_processes_write_the_lines_of_one(scored, tmp_path, env):
    for processes, name in enumerate(("one", "two"), start=1):
        code, output = warm.train(scored(f"run.name={name}"), processes, **env)
        assert code == 0, output
        assert output.count("quality at 60 images") == 1
    one, two = lines(tmp_path / "one"), lines(tmp_path / "two")
    assert [line["images"] for line in one] == [line["images"] for line in two] == [60, 120, 180, 240]
    for ours, theirs in zip(two, one, strict=True):
        assert ours["scores"]["protocol"] == theirs["scores"]["protocol"]
        assert ours["scores"]["values"] == pytest.approx(theirs["scores"]["values"], rel=1e-4)
    best, last = (load_generator(tmp_path / "two" / name) for name in ("best.safetensors", "generator.safetensors"))
    assert best.description.scores == min(two, key=lambda line: line["scores"]["values"][FD])["scores"]
    assert last.description.scores == two[-1]["scores"]


def test_two_processes_that_are_killed_go_on_with_the_memory(scored, tmp_path, env):
    code, output = warm.train(scored("run.name=whole"), 2, **env)
    assert code == 0, output
    directory = tmp_path / "killed"
    process = start([*TWO_PLANTED, "slow_steps", *scored("run.name=killed")], tmp_path / "log", **env)
    wait_for(lambda: storage.steps(directory / "checkpoints")[-1:] == [10], process)
    kill_all(process)
    code, output = warm.train(scored("run.name=killed"), 2, **env)
    assert code == 0, output
    assert "resumed from" in output
    assert lines(directory) == lines(tmp_path / "whole")
    memories = [
        storage.load(tmp_path / name / "checkpoints" / "step-000000020")[1]["best"] for name in ("whole", "killed")
    ]
    assert memories[0] == memories[1]


def test_both_end_after_the_time_and_go_on(scored, tmp_path, env):
    """A step takes a tenth of a second, so that the time is used up on the way."""
    options = scored("train.seconds=0.5")
    code, output = warm.train(options, 2, "slow_steps", **env)
    assert code == 0, output
    assert output.count("done: train.seconds=0.5 are used up at") == 1
    (*_, first) = storage.steps(tmp_path / "quickstart" / "checkpoints")
    assert first < 20
    assert lines(tmp_path / "quickstart")[-1]["images"] == 12 * first, "the state at the end is evaluated"
    code, output = warm.train(options, 2, "slow_steps", **env)
    assert code == 0, output
    assert storage.steps(tmp_path / "quickstart" / "checkpoints")[-1] > first


def test_both_end_with_the_patience(scored, tmp_path, env):
    """Nothing is recognised in the images of so short a training, so that no score is better than the first."""
    options = "evaluate.extractor=none", "best.patience=2"
    code, output = warm.train(scored(*options), 2, **env)
    assert code == 0, output
    assert output.count("2 evaluations in a row without a better shapes_recognised than 0 at 60 images") == 1
    assert storage.steps(tmp_path / "quickstart" / "checkpoints") == [5, 10, 15]


def test_a_collapse_ends_both_with_code_4_and_leaves_the_best_and_a_report(scored, tmp_path, env):
    options = scored("watchdog.diversity_low=0.001", "watchdog.collapse=stop")
    code, output = warm.train(options, 2, "collapse", **env)
    assert code == 4, output
    directory = tmp_path / "quickstart"
    assert load_generator(directory / "best.safetensors").description.scores in [
        line["scores"] for line in lines(directory)
    ]
    assert FD in (directory / "report.html").read_text()


@pytest.mark.parametrize("fault", ["", "slow_to_report"])  # a launcher ends the others as soon as one has failed
def test_a_mistake_is_told_once_before_the_first_step(scored, tmp_path, env, fault):
    code, output = warm.train(scored("best.metric=fdd"), 2, fault, **env)
    assert code == 2, output
    assert output.count("best.metric=fdd is no score that this training is given") == 1, output
    assert "Traceback" not in output
    assert not (tmp_path / "quickstart" / "metrics.jsonl").exists()


def test_an_extra_that_is_missing_is_told_before_the_first_step(scored, tmp_path, env):
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "efficientnet_lite_pytorch.py").write_text("raise ImportError('not here')\n")
    code, output = run([sys.executable, "distgan/train.py", *scored()], **env | {"PYTHONPATH": f"{blocked}:."})
    assert code == 2
    assert "quality" in output
    assert "Traceback" not in output
