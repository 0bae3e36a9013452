"""Checkpoints in a thread of their own: nobody waits, nothing is lost, failures are told once."""

from __future__ import annotations

import re
import threading

import pytest
import torch

from distgan.config.schema import CheckpointConfig
from distgan.training.checkpoint import storage
from distgan.training.checkpoint.async_writer import AsyncCheckpointWriter
from distgan.training.checkpoint.state import State
from distgan.utils.errors import CheckpointError

TENSORS = {"a": torch.arange(3.0)}


def test_what_was_handed_over_is_on_disk_after_the_wait(tmp_path):
    writer = AsyncCheckpointWriter(tmp_path / "checkpoints", CheckpointConfig(keep_last=1))
    for step in (5, 10):
        writer.put(step, State(TENSORS, {"step": step}), step)
        assert writer.wait()
    assert storage.steps(tmp_path / "checkpoints") == [10]
    tensors, values = storage.load(tmp_path / "checkpoints" / "step-000000010")
    assert torch.equal(tensors["a"], TENSORS["a"])
    assert values == {"step": 10}


def test_a_slow_disk_is_busy_and_the_caller_is_not(tmp_path, monkeypatch):
    go, original = threading.Event(), storage.save_file
    monkeypatch.setattr(storage, "save_file", lambda tensors, path: (go.wait(60), original(tensors, path)))
    writer = AsyncCheckpointWriter(tmp_path / "checkpoints", CheckpointConfig())
    writer.put(5, State(TENSORS, {}), 5)
    assert re.fullmatch(r"the checkpoint of step 5 is still being written after \d+ s", writer.busy())
    assert not writer.wait(0.01)
    go.set()
    assert writer.wait()
    assert writer.busy() is None
    assert storage.steps(tmp_path / "checkpoints") == [5]


def test_failures_in_a_row_are_counted_and_each_is_told_once(tmp_path, monkeypatch):
    writer = AsyncCheckpointWriter(tmp_path / "checkpoints", CheckpointConfig())
    with monkeypatch.context() as broken:
        broken.setattr(storage, "save_file", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        for failures in (1, 2):
            writer.put(5, State(TENSORS, {}), 5)
            writer.wait()
            assert writer.failures == failures
            assert "No space left" in str(writer.take_failure())
            assert writer.take_failure() is None
    writer.put(10, State(TENSORS, {}), 10)
    writer.wait()
    assert writer.failures == 0


def test_whatever_goes_wrong_in_the_thread_is_a_failure_and_a_failed_rotation_is_none(tmp_path, monkeypatch):
    writer = AsyncCheckpointWriter(tmp_path / "checkpoints", CheckpointConfig())
    with monkeypatch.context() as broken:
        broken.setattr(storage, "save_file", lambda *_: (_ for _ in ()).throw(MemoryError("no room")))
        writer.put(5, State(TENSORS, {}), 5)
        assert writer.wait()
        assert "checkpoint of step 5 cannot be written: MemoryError: no room" in str(writer.take_failure())
        assert writer.failures == 1
    monkeypatch.setattr(storage, "rotate", lambda *_: (_ for _ in ()).throw(OSError(116, "Stale file handle")))
    writer.put(10, State(TENSORS, {}), 10)
    assert writer.wait()
    assert (writer.take_failure(), writer.failures, storage.steps(tmp_path / "checkpoints")) == (None, 0, [10])


def test_a_checkpoint_that_is_replaced_is_never_missing_after_a_kill(tmp_path, monkeypatch):
    """The old one is put aside before the new one gets its name; a start in between takes it back."""
    storage.save(tmp_path, 5, TENSORS, {"version": "old"})
    final, renames, original = tmp_path / "step-000000005", [], type(tmp_path).rename

    def rename(path, target):
        renames.append(path.name)
        if len(renames) == 2:
            raise KeyboardInterrupt  # killed
        return original(path, target)

    with monkeypatch.context() as broken:
        broken.setattr(type(tmp_path), "rename", rename)
        with pytest.raises(KeyboardInterrupt):
            storage.save(tmp_path, 5, TENSORS, {"version": "new"})
    assert not final.exists()
    storage.sweep(tmp_path)
    assert storage.load(final)[1] == {"version": "old"}
    assert [path.name for path in tmp_path.iterdir()] == [final.name]
    storage.save(tmp_path, 5, TENSORS, {"version": "new"})
    assert storage.load(final)[1] == {"version": "new"}
    assert [path.name for path in tmp_path.iterdir()] == [final.name]


def test_a_replacement_that_cannot_get_its_name_leaves_the_old_one(tmp_path, monkeypatch):
    storage.save(tmp_path, 5, TENSORS, {"version": "old"})
    original = type(tmp_path).rename

    def rename(path, target):
        if path.name.endswith(".tmp"):
            raise OSError(28, "No space left on device")
        return original(path, target)

    with monkeypatch.context() as broken:
        broken.setattr(type(tmp_path), "rename", rename)
        with pytest.raises(CheckpointError, match="No space left"):
            storage.save(tmp_path, 5, TENSORS, {"version": "new"})
    assert storage.load(tmp_path / "step-000000005")[1] == {"version": "old"}


def test_rotation_keeps_what_a_rollback_may_need(tmp_path):
    for step in (5, 10, 15, 20):
        storage.save(tmp_path, step, TENSORS, {})
    storage.rotate(tmp_path, 10**9, keep_last=1, keep_every_steps=None, healthy_step=12)
    assert storage.steps(tmp_path) == [10, 20]


def test_discard_removes_only_what_is_later(tmp_path):
    for step in (5, 10, 15):
        storage.save(tmp_path, step, TENSORS, {})
    storage.discard(tmp_path, after=5)
    assert storage.steps(tmp_path) == [5]
    assert storage.newest(tmp_path, print, not_after=4) is None
