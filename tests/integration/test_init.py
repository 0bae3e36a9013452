"""A training that begins with another run's weights: the complete command, resumed, and on two processes."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from distgan.config.load import load_config
from distgan.data.prepare import Request, prepare
from distgan.data.sources.shapes import Shapes
from tests.support import warm
from tests.support.workers import training

pytestmark = pytest.mark.slow
LAST = "checkpoints/step-000000004/state.safetensors"


def data(place, *classes):
    prepare(Request(out=place, source=Shapes(count=60), classes=classes), progress=False)
    return f"data.path={place}"


@pytest.fixture
def old(tiny, tmp_path):
    """A finished run on hearts, rings and squares."""
    images = data(tmp_path / "first", "heart", "ring", "square")
    code, output = warm.train(tiny("run.name=old", images, "train.images=24", "checkpoint.every_steps=1"))
    assert code == 0, output
    return tmp_path / "old"


@pytest.fixture
def new(tiny, old, tmp_path):
    """A run of four steps on hearts and stars that begins from it."""
    images = data(tmp_path / "second", "heart", "star")
    return lambda *more: tiny(
        "run.name=new", f"init.from={old}", images, "train.images=48", "checkpoint.every_steps=2",
        "discriminator.freeze_layers=1", *more,
    )  # fmt: skip


def test_it_is_told_recorded_drawn_before_the_first_step_and_not_done_again(new, old, tmp_path):
    run = tmp_path / "new"
    code, output = warm.train(new("train.images=24"))
    assert code == 0, output
    assert f"init: {old}/checkpoints/step-000000002" in output
    assert "init: generator 12 of 12 tensors taken (9" in output
    assert "in part: dense.weight [512, 26] (there: [512, 27])" in output
    assert (run / "samples" / "fakes-000000000.png").is_file()
    assert json.loads((run / "run.json").read_text())["init_from"] == f"{old}/checkpoints/step-000000002"
    assert load_config(run / "config.yaml").init.from_ == old
    shutil.rmtree(old)
    code, output = warm.train(new())
    assert code == 0, output
    assert "resumed from" in output
    assert "init:" not in output
    assert json.loads((run / "run.json").read_text())["init_from"] == f"{old}/checkpoints/step-000000002"


def test_a_resumed_run_ends_with_the_bits_of_an_undisturbed_one(new, tmp_path):
    assert warm.train(new("train.images=24")).code == 0
    assert warm.train(new()).code == 0
    assert warm.train(new("run.name=whole")).code == 0
    assert (tmp_path / "new" / LAST).read_bytes() == (tmp_path / "whole" / LAST).read_bytes()


def test_two_processes_begin_with_the_weights_that_the_main_one_has_read(new, tmp_path):
    for name, processes in (("one", 1), ("two", 2)):
        code, output = warm.train(new(f"run.name={name}", "guard.every_steps=1"), processes)
        assert code == 0, output
        assert output.count("init: generator 12 of 12") == 1
    one, two = (load_file(tmp_path / name / LAST) for name in ("one", "two"))
    for part in ("g/", "d/", "ema/"):
        names = sorted(name for name in one if name.startswith(part))
        ours, theirs = (torch.cat([end[name].flatten() for name in names]) for end in (one, two))
        assert (ours - theirs).norm() < 1e-2 * ours.norm(), part


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("init.from=nowhere", "init.from=nowhere is not there"),
        ("init.strict=true", "init.strict=true, but of the generator dense.weight"),
    ],
)
def test_a_mistake_that_the_main_process_finds_ends_both_with_one_sentence(new, override, sentence):
    code, output = warm.train(new(override), 2)
    assert code == 2, output
    assert output.count(sentence) == 1


def test_a_rollback_before_the_first_checkpoint_goes_back_to_the_beginning(new):
    code, output = warm.train(
        new("checkpoint.every_steps=1000", "train.images=240", "watchdog.nonfinite=rollback", "log.every_steps=1"),
        fault="nan_once",
    )
    assert code == 0, output
    assert "back to step 0" in output


def test_a_frozen_layer_gives_the_same_answer_on_two_processes_with_micro_batches(tiny, tmp_path):
    overrides = tiny(
        "discriminator.freeze_layers=2", "loss.r1_gamma=0.5", "optimizer.discriminator={name: adam, beta1: 0}"
    )
    ends = [
        training.play(tmp_path / str(number), processes, [*overrides, f"train.accumulation={parts}"], 6)[0]
        for number, (processes, parts) in enumerate([(1, 1), (2, 1), (2, 3)])
    ]
    for end in ends[1:]:
        assert torch.equal(end["tensors"]["d/layers.2.weight"], ends[0]["tensors"]["d/layers.2.weight"])
        for name, tensor in ends[0]["tensors"].items():
            if "window" not in name:
                assert_close(end["tensors"][name], tensor, rtol=1e-9, atol=1e-12, msg=name)
