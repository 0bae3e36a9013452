"""Checkpoints on disk, and the trainer's state through them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from distgan.training.checkpoint import storage
from distgan.training.checkpoint.resume import check_resume, choose_checkpoint
from distgan.training.checkpoint.state import capture, restore
from distgan.utils.errors import CheckpointError
from tests.unit.training.test_trainer import build, reals_of

TENSORS = {"a/w": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(())}
VALUES = {"step": 3, "name": "x"}


def damage(path, place=-1):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))


def test_what_is_saved_is_what_is_loaded(tmp_path):
    path = storage.save(tmp_path, 3, TENSORS, VALUES)
    tensors, values = storage.load(path)
    assert path.name == "step-000000003"
    assert values == VALUES
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize("name", ["state.safetensors", "state.json"])
def test_one_flipped_bit_is_found(tmp_path, name):
    path = storage.save(tmp_path, 3, TENSORS, VALUES)
    damage(path / name)
    with pytest.raises(CheckpointError, match=f"{name} is damaged: its sha256"):
        storage.load(path)


@pytest.mark.parametrize("name", ["state.safetensors", "state.json", "manifest.json"])
def test_a_missing_file_is_named(tmp_path, name):
    path = storage.save(tmp_path, 3, TENSORS, VALUES)
    (path / name).unlink()
    with pytest.raises(CheckpointError, match=f"not a complete checkpoint: {name} is missing"):
        storage.load(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format_version": 1}', '{"format_version": 1, "files": 3}', "\x00"])
def test_a_damaged_manifest_is_an_error_not_a_crash(tmp_path, text):
    path = storage.save(tmp_path, 3, TENSORS, VALUES)
    (path / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError):
        storage.load(path)


def test_a_checkpoint_of_a_newer_format_is_refused_by_version(tmp_path):
    path = storage.save(tmp_path, 3, TENSORS, VALUES)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"format_version": 2}))
    with pytest.raises(CheckpointError, match="has format 2, this distgan reads format 1"):
        storage.load(path)


def test_a_damaged_newest_checkpoint_is_reported_and_the_one_before_it_is_taken(tmp_path):
    for step in (1, 2, 3):
        storage.save(tmp_path, step, TENSORS, VALUES)
    damage(tmp_path / "step-000000003" / "state.safetensors")
    (tmp_path / "step-000000002" / "manifest.json").unlink()
    said = []
    assert storage.newest(tmp_path, said.append) == tmp_path / "step-000000001"
    assert len(said) == 2
    assert "step-000000003/state.safetensors is damaged" in said[0]
    assert "manifest.json is missing" in said[1]


def test_temporary_and_foreign_directories_are_not_checkpoints(tmp_path):
    for name in (".step-000000009.tmp", "step-9x", "best", "step-000000009.tmp"):
        (tmp_path / name).mkdir()
    assert storage.steps(tmp_path) == []
    assert storage.newest(tmp_path, print) is None
    assert storage.steps(tmp_path / "missing") == []


def test_a_checkpoint_of_a_newer_format_is_not_taken_for_damaged_and_nothing_older_is_used(tmp_path):
    storage.save(tmp_path, 10, TENSORS, VALUES)
    newer = storage.save(tmp_path, 20, TENSORS, VALUES) / "manifest.json"
    newer.write_text(json.dumps(json.loads(newer.read_text()) | {"format_version": 2}))
    with pytest.raises(CheckpointError, match="upgrade distgan, or start a new run with run.name=NAME"):
        storage.newest(tmp_path, print)


def test_a_damaged_checkpoint_of_a_later_step_takes_no_place_of_the_newest(tmp_path):
    (tmp_path / "step-000000999").mkdir()
    for step in (10, 20, 30):
        storage.save(tmp_path, step, TENSORS, VALUES)
        storage.rotate(tmp_path, step, keep_last=1, keep_every_steps=None, healthy_step=10**9)
    assert storage.steps(tmp_path) == [30, 999]


def test_rotation_keeps_the_newest_and_every_mth(tmp_path):
    for step in range(10, 80, 10):
        storage.save(tmp_path, step, TENSORS, VALUES)
    storage.rotate(tmp_path, 10**9, keep_last=2, keep_every_steps=30, healthy_step=10**9)
    assert storage.steps(tmp_path) == [30, 60, 70]
    storage.rotate(tmp_path, 10**9, keep_last=1, keep_every_steps=None, healthy_step=10**9)
    assert storage.steps(tmp_path) == [70]
    assert sorted(os.listdir(tmp_path)) == ["step-000000070"]


def test_saving_a_step_again_replaces_it(tmp_path):
    path = storage.save(tmp_path, 3, TENSORS, VALUES)
    damage(path / "state.json", 5)
    storage.save(tmp_path, 3, TENSORS, {"step": 4})
    assert storage.load(path)[1] == {"step": 4}


def test_a_checkpoint_that_cannot_be_removed_does_not_stop_training(tmp_path):
    for step in (1, 2, 3):
        storage.save(tmp_path, step, TENSORS, VALUES)
    (tmp_path / ".step-000000001.old").write_text("in the way")
    storage.rotate(tmp_path, 10**9, keep_last=1, keep_every_steps=None, healthy_step=10**9)
    assert storage.steps(tmp_path)[-1] == 3


def test_resume_chooses_the_newest_refuses_what_would_lose_work_and_forks_into_a_new_run(tmp_path):
    here, other = tmp_path / "here", tmp_path / "other"
    assert choose_checkpoint(here, "auto") is None
    assert choose_checkpoint(here, "never") is None
    newest = [storage.save(here, step, TENSORS, VALUES) for step in (1, 2)][-1]
    foreign = storage.save(other, 5, TENSORS, VALUES)
    assert choose_checkpoint(here, "auto") == newest
    assert choose_checkpoint(here, str(newest)) == newest
    for lossy in ("never", str(here / "step-000000001"), str(foreign)):
        with pytest.raises(CheckpointError, match="set run.name=NAME"):
            choose_checkpoint(here, lossy)
    assert choose_checkpoint(tmp_path / "new", str(foreign)) == foreign
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(CheckpointError, match="--resume .*loop is nothing that is there, not a checkpoint"):
        choose_checkpoint(here, str(tmp_path / "loop"))
    for path in here.iterdir():
        (path / "state.json").unlink()
    with pytest.raises(CheckpointError, match="none of the checkpoints in .* is complete"):
        choose_checkpoint(here, "auto")


def test_a_target_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        storage.save(tmp_path / "file", 3, TENSORS, VALUES)


def test_a_full_disk_leaves_older_checkpoints_and_no_half_one(tmp_path):
    script = f"""
import resource, signal, torch
from pathlib import Path
from distgan.training.checkpoint import storage
from distgan.utils.errors import CheckpointError
from distgan.training.checkpoint.resume import choose_checkpoint
root = Path({str(tmp_path)!r})
storage.save(root, 1, {{"a": torch.zeros(10)}}, {{}})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    storage.save(root, 2, {{"a": torch.zeros(100_000)}}, {{}})
except CheckpointError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "step-000000002 cannot be written" in done.stdout
    assert os.listdir(tmp_path) == ["step-000000001"]


def test_the_same_command_with_a_checkpoint_to_begin_from_goes_on_after_its_first_own_one(tmp_path):
    origin = storage.save(tmp_path / "other" / "checkpoints", 7, {"a": torch.zeros(1)}, {})
    here = tmp_path / "run" / "checkpoints"
    assert choose_checkpoint(here, str(origin)) == origin
    own = storage.save(here, 9, {"a": torch.zeros(1)}, {})
    with pytest.raises(CheckpointError, match="already holds checkpoints"):
        choose_checkpoint(here, str(origin))
    (tmp_path / "run" / "run.json").write_text(json.dumps({"began_from": str(origin.resolve())}))
    assert choose_checkpoint(here, str(origin)) == own


def test_the_same_command_goes_on_also_after_the_checkpoint_that_it_began_from_is_gone(tmp_path):
    own = storage.save(tmp_path / "run" / "checkpoints", 9, {"a": torch.zeros(1)}, {})
    gone = tmp_path / "other" / "checkpoints" / "step-000000007"
    (tmp_path / "run" / "run.json").write_text(json.dumps({"began_from": str(gone)}))
    assert choose_checkpoint(own.parent, str(gone)) == own


@pytest.mark.parametrize(
    ("given", "what", "nearest"),
    [
        (
            "run/generator.safetensors",
            "a file of weights without a state of training",
            "run/checkpoints/step-000000007",
        ),
        ("run/checkpoints/step-000000007/state.safetensors", "a file of weights", "run/checkpoints/step-000000007"),
        ("run/config.yaml", "a file", "run/checkpoints/step-000000007"),
        ("run", "a run", "run/checkpoints/step-000000007"),
        ("run/checkpoints", "a directory", "run/checkpoints/step-000000007"),
        ("run/checkpoints/step-000000008", "nothing that is there", "run/checkpoints/step-000000007"),
        ("elsewhere/generator.safetensors", "a file of weights", "RUN/checkpoints/step-..."),
        ("gone", "nothing that is there", "RUN/checkpoints/step-..."),
    ],
)
def test_what_is_no_checkpoint_is_named_and_the_nearest_one_with_it(given, what, nearest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage.save(Path("run/checkpoints"), 7, {"a": torch.zeros(1)}, {})
    Path("elsewhere").mkdir()
    for name in ("run/generator.safetensors", "run/config.yaml", "elsewhere/generator.safetensors"):
        Path(name).touch()
    with pytest.raises(CheckpointError) as error:
        choose_checkpoint(Path("new/checkpoints"), given)
    assert str(error.value).startswith(f"--resume {given} is {what}")
    assert str(error.value).endswith(f"not a checkpoint's directory; give {nearest}")


def test_a_run_that_is_new_is_not_told_to_start_a_new_run(tiny_config, tmp_path):
    config = tiny_config("run.name=here")
    values = {
        "config": config.model_dump(mode="json"), "data_digest": "d", "precision": "no", "processes": 1, "run_id": "x",
        "g": {}, "d": {},
    }  # fmt: skip
    changed = tiny_config("run.name=here", "train.batch_size=24")
    for place, fix in (("here", "start a new run with run.name=NAME"), ("other", "leave --resume out to start from")):
        path = tmp_path / place / "checkpoints" / "step-000000001"
        (recipe,), _ = check_resume(path, values, changed, "d")
        assert recipe.fix.startswith(f"set these back, or {fix}")
        (images,), _ = check_resume(path, values, config, "another")
        (damaged,), _ = check_resume(path, {}, config, None)
        assert images.fix.startswith(fix)
        assert damaged.fix.startswith(fix)


def test_every_file_of_a_checkpoint_is_on_the_disk_before_it_has_its_name_and_then_the_name(tmp_path, monkeypatch):
    """A crash of the machine, unlike a SIGKILL, loses what was not flushed."""
    happened, flush, rename = [], os.fsync, Path.rename

    def flushed(descriptor):
        happened.append(os.fstat(descriptor).st_ino)
        flush(descriptor)

    def renamed(path, target):
        happened.append("renamed")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "rename", renamed)
    path = storage.save(tmp_path, 3, TENSORS, VALUES)
    named = happened.index("renamed")
    assert {file.stat().st_ino for file in (*path.iterdir(), path)} <= set(happened[:named])
    assert tmp_path.stat().st_ino in happened[named:]


@pytest.mark.slow
def test_sigkill_at_any_moment_of_saving_leaves_only_whole_checkpoints(tmp_path):
    script = f"""
import torch
from pathlib import Path
from distgan.training.checkpoint import storage
tensors = {{str(i): torch.full((50_000,), float(i)) for i in range(8)}}
print("ready", flush=True)
for step in range(1, 100_000):
    storage.save(Path({str(tmp_path)!r}), step, tensors, {{"step": step}})
    storage.rotate(Path({str(tmp_path)!r}), 10**9, 2, None, 10**9)
"""
    newest = 0
    for attempt in range(6):
        child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.1 + 0.037 * attempt)
        child.kill()
        child.wait()
        child.stdout.close()
        whole = storage.steps(tmp_path)
        assert 1 <= len(whole) <= 3
        for step in whole:
            storage.load(tmp_path / f"step-{step:09d}")
        newest = max(newest, whole[-1])
    assert newest > 1
    storage.sweep(tmp_path)
    assert all(storage.NAME.match(name) for name in os.listdir(tmp_path))


@pytest.mark.parametrize(
    "recipe",
    [
        (),
        ("loss.label_noise=0.1", "loss.label_smoothing=0.1", "generator.dropout=0.2", "train.share_fakes=true"),
        ("balance.enabled=true", "balance.every_steps=4", "train.accumulation=2", "train.d_steps=2"),
    ],
    ids=["quickstart", "random", "balance"],
)
def test_resumed_training_equals_uninterrupted_training_bit_for_bit(tiny_config, tmp_path, recipe):
    config = tiny_config(*recipe)

    def begun():
        trainer = build(config)
        trainer.controllers.by_name["balance"].set_level(2)  # at such a level the balance has something to undo
        return trainer

    def steps(trainer, count):
        batches = reals_of(config).batches(trainer.d.updates)
        for _ in range(count):
            trainer.step(batches)

    whole = begun()
    steps(whole, 11)
    first = begun()
    steps(first, 6)  # in the middle of a balance window
    state = capture(first)
    path = storage.save(tmp_path, 6, state.tensors, state.values)
    second = build(config)
    restore(second, storage.load(path))
    steps(second, 5)
    expected, actual = capture(whole), capture(second)
    assert actual.values == expected.values
    assert all(torch.equal(actual.tensors[name], tensor) for name, tensor in expected.tensors.items())
    if recipe and recipe[0].startswith("balance"):
        assert expected.values["balance_level"] < 2, "the balance must have acted for this to be a test"


def test_a_state_of_another_network_is_refused_with_a_sentence(tiny_config):
    state = capture(build(tiny_config()))
    with pytest.raises(CheckpointError, match="does not fit the configured networks"):
        restore(build(tiny_config("generator.width=16")), state)


def test_capturing_copies_so_that_later_steps_do_not_change_it(tiny_config):
    config = tiny_config()
    trainer = build(config)
    state = capture(trainer)
    before = {name: tensor.clone() for name, tensor in state.tensors.items()}
    trainer.step(reals_of(config).batches(0))
    assert all(torch.equal(state.tensors[name], tensor) for name, tensor in before.items())
