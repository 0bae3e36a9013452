"""The configuration against processes, scores, locks and checkpoints."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys

import pytest
import torch

from distgan.doctor import data, recipe
from distgan.training.checkpoint import storage
from tests.support.foreign import webdataset_shards
from tests.support.shards import make
from tests.unit.doctor.results import lines


def test_the_batch_over_the_processes(tiny_config):
    assert lines(recipe.check_batch(tiny_config(), 2)) == [
        "ok    batch: 12 images over 2 process(es) and 1 micro-batch(es): 6 at a time"
    ]
    assert lines(recipe.check_batch(tiny_config(), 5)) == [
        "FAIL  batch: train.batch_size=12 is not a multiple of processes * train.accumulation = 5 * 1 = 5; nearest "
        "valid: 10 or 15; set train.batch_size, or start another number of processes"
    ]
    assert recipe.check_batch(tiny_config("train.accumulation=12"), 1)[0].level == "warn"


def test_another_training_s_lock(tmp_path):
    assert lines(recipe.check_lock(tmp_path / "run")) == [f"ok    lock: no training has written to {tmp_path}/run yet"]
    (tmp_path / ".lock").write_text("process 7 on host")
    assert lines(recipe.check_lock(tmp_path)) == [f"ok    lock: no other training is writing to {tmp_path}"]
    script = (
        "import fcntl, sys; f = open(sys.argv[1], 'a+'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); "
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        results = recipe.check_lock(tmp_path)
        process.stdin.close()
    assert lines(results) == [
        f"FAIL  lock: another training is writing to {tmp_path} (process 7 on host); stop it, or start a new run with "
        "run.name=NAME"
    ]
    with (tmp_path / ".lock").open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nothing is held any more


def test_a_place_that_training_refuses_is_refused(tmp_path):
    (tmp_path / "checkpoints").symlink_to(tmp_path)
    (result,) = recipe.check_lock(tmp_path)
    assert result.level == "fail"
    assert result.text == f"{tmp_path}/checkpoints is a link, or not what a run has there, and is not written to"
    (tmp_path / "file").write_text("")
    assert recipe.check_lock(tmp_path / "file")[0].level == "fail"


def test_a_checkpoint_of_a_newer_format_is_no_damaged_one(tiny_config):
    config = tiny_config()
    save_checkpoint(config, 10)
    manifest = save_checkpoint(config, 20) / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format_version": 2}))
    _, (result,) = recipe.check_checkpoints(config, recipe.Launch(1, "no", "d"))
    assert (result.level, result.advice) == ("fail", "upgrade distgan, or start a new run with run.name=NAME")


def save_checkpoint(config, step, **changes):
    import torch

    values = {
        "config": config.model_dump(mode="json"), "data_digest": "d", "precision": "no", "processes": 1, "run_id": "r",
        "g": {"updates": step}, "d": {"updates": step},
    } | changes  # fmt: skip
    return storage.save(config.run_dir / "checkpoints", step, {"x": torch.ones(3)}, values)


def test_what_a_resume_would_do(tiny_config):
    config = tiny_config()
    assert lines(recipe.check_checkpoints(config, recipe.Launch(1, "no", "d"))[1]) == [
        f"ok    resume: {config.run_dir} holds no checkpoint: training starts from the beginning"
    ]
    first, second = save_checkpoint(config, 5), save_checkpoint(config, 10)
    steps, results = recipe.check_checkpoints(tiny_config("train.images=480"), recipe.Launch(2, "bf16", "d"))
    assert (steps, lines(results)) == (
        10,
        [
            f"ok    resume: training continues from {second}, step 10 of 40; changed since then: train.images: "
            "240 -> 480; precision: no -> bf16; processes: 1 -> 2"
        ],
    )
    assert lines(recipe.check_checkpoints(tiny_config("generator.width=9"), recipe.Launch(1, "no", "d"))[1]) == [
        f"FAIL  resume: {second} was made with another recipe: generator.width: 8 -> 9; set these back, or start a new "
        "run with run.name=NAME"
    ]
    assert recipe.check_checkpoints(config, recipe.Launch(1, "no", "other"))[1][0].text == (
        f"{second} was trained on other images than those in {config.data.path}"
    )
    assert recipe.check_checkpoints(tiny_config("train.images=100"), recipe.Launch(1, "no", None))[1][0].level == "warn"
    (second / "state.json").write_text("{}")
    steps, results = recipe.check_checkpoints(config, recipe.Launch(1, "no", "d"))
    assert (steps, [result.level for result in results]) == (5, ["warn", "ok"])
    assert "state.json is damaged" in results[0].text
    (first / "state.json").unlink()
    assert recipe.check_checkpoints(config, recipe.Launch(1, "no", "d"))[1][-1].text.startswith(
        "none of the checkpoints in"
    )
    save_checkpoint(config, 15, run_id="r", extra=1)
    values = {"config": config.model_dump(mode="json")}
    (result,) = recipe.compare_checkpoint(config, first, recipe.State({}, values), recipe.Launch(1, "no", None))
    assert "has no data_digest" in result.text


@pytest.mark.parametrize(
    ("override", "level", "text"),
    [
        (
            "evaluate.count=50",
            "ok",
            "50 generated images are evaluated every 100 images; the best by fd_effi",
        ),
        (
            "best.metric=fid",
            "fail",
            "best.metric=fid is no score that this training is given; nearest: fd_effi",
        ),
        ("evaluate.reference=/nowhere", "fail", "/nowhere"),
        ("evaluate.reference_count=301", "fail", "evaluate.reference_count=301 must be 20 to 300"),
        ("evaluate.weights=x.pth", "fail", "evaluate.weights=x.pth goes with inception"),
    ],
)
def test_doctor_says_whether_there_can_be_scores(tiny_config, shapes, override, level, text):
    config = tiny_config("evaluate.every_images=100", "evaluate.reference_count=40", override)
    (result,) = recipe.check_scores(config, data.check_data(config)[0])
    assert result.level == level
    assert text in result.line()


def test_doctor_opens_another_reference_as_training_does(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    webdataset_shards(tmp_path / "theirs")
    make(tmp_path / "ours", count=60)
    config = tiny_config(
        f"data={{path: {tmp_path}/theirs, fit: pad, size: 32}}", f"evaluate.reference={tmp_path}/ours",
        "evaluate.every_images=100", "evaluate.reference_count=40", "evaluate.count=50",
    )  # fmt: skip
    (result,) = recipe.check_scores(config, data.check_data(config)[0])
    assert result.level == "ok", result.line()


def test_doctor_warns_of_a_judge_that_the_generator_is_trained_against(tiny_config, shapes):
    for judge, level in (("efficientnet_lite0", "warn"), ("none", "ok")):
        config = tiny_config(
            "evaluate.every_images=100", "evaluate.count=50", "evaluate.reference_count=40",
            f"evaluate.extractor={judge}", "discriminator={family: projected, conditional: true}",
        )  # fmt: skip
        (result,) = recipe.check_scores(config, data.check_data(config)[0])
        assert result.level == level, result.line()


def test_doctor_looks_for_scores_only_where_they_are_wanted(tiny_config):
    assert recipe.check_scores(tiny_config(), None) == []


def test_the_weights_that_a_new_run_begins_with(tiny_config, tmp_path):
    assert recipe.check_init(tiny_config(), False) == []
    config = tiny_config(f"init.from={tmp_path}")
    assert lines(recipe.check_init(config, False)) == [
        f"FAIL  init: init.from={tmp_path} has no complete checkpoint and no generator in it; give a run's "
        "directory, RUN/checkpoints/step-..., a generator.safetensors, or hf://OWNER/NAME"
    ]
    assert lines(recipe.check_init(config, True)) == [
        f"ok    init: {tmp_path} is not used again: the run goes on from its own checkpoint"
    ]
    assert lines(recipe.check_init(tiny_config("init.from=hf://me/cats"), False)) == [
        "ok    init: hf://me/cats is downloaded when training starts"
    ]
    path = storage.save(tmp_path / "checkpoints", 3, {"g/a": torch.zeros(1)}, {"config": {}})
    assert lines(recipe.check_init(config, False)) == [
        f"ok    init: training begins with the weights in {path}: generator, discriminator, average"
    ]
