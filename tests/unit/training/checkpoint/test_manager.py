"""When a checkpoint is due: what each rank does for it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from distgan.training.checkpoint import manager as under_test
from distgan.training.checkpoint import storage
from distgan.training.checkpoint.manager import CheckpointManager
from distgan.training.checkpoint.storage import State
from tests.unit.training.test_trainer import build


@pytest.fixture
def manager(tiny_config, tmp_path):
    config = tiny_config()
    monitors = SimpleNamespace(
        state=lambda: State({}, {}),
        watchdog=SimpleNamespace(healthy_step=lambda step: step),
        early_stopping=SimpleNamespace(step=None),
    )
    return CheckpointManager(tmp_path / "checkpoints", config.checkpoint, build(config), monitors, {}, None)


@pytest.mark.parametrize("main", [True, False])
def test_only_the_process_that_writes_copies_the_state_to_host_memory(manager, main, monkeypatch):
    copies, copy = [], under_test.copy_to_host
    monkeypatch.setattr(under_test, "copy_to_host", lambda *given: copies.append(1) or copy(*given))
    manager.trainer.accelerator = SimpleNamespace(is_main_process=main)
    manager.save()
    manager.finish()
    assert (len(copies), storage.steps(manager.directory)) == ((1, [0]) if main else (0, []))


def test_a_checkpoint_that_is_left_out_is_not_copied_either(manager, monkeypatch):
    told = []
    manager.telemetry = SimpleNamespace(warn=lambda name, text: told.append(text))
    monkeypatch.setattr(manager.writer, "busy", lambda: "checkpoint 5 is still being written")
    monkeypatch.setattr(under_test, "copy_to_host", None)
    manager.save()
    assert "left out" in told[0]
