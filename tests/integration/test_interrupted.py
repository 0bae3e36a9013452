"""A signal in a step after which something is due: the next start does it, and the record is the undisturbed one."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from distgan import train
from distgan.training.trainer import Trainer
from tests.support.runs import without_measured

pytestmark = pytest.mark.slow


def record(run: Path) -> list[dict]:
    """The lines of metrics but for what a clock or a machine measures."""
    path = run / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [without_measured(line) for line in lines]


@pytest.mark.parametrize("step", [4, 9, 12, 19, 20], ids=lambda step: f"in step {step}")
def test_what_was_due_after_the_interrupted_step_is_done_by_the_next_start(tiny, tmp_path, monkeypatch, step):
    """Lines every 5 steps, grids every 10, 20 in all; step 20 is the last."""
    original, whole, stopped = Trainer.step, tmp_path / "whole", tmp_path / "stopped"
    assert train.main(tiny("run.name=whole")) == 0

    def interrupted(self, batches):
        if self.steps == step - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batches)

    monkeypatch.setattr(Trainer, "step", interrupted)
    assert train.main(tiny("run.name=stopped")) == 143
    assert len(record(stopped)) == (step - 1) // 5, "a signal adds no line"
    monkeypatch.setattr(Trainer, "step", original)
    for _ in range(2):
        assert train.main(tiny("run.name=stopped")) == 0
        assert record(stopped) == record(whole)
        grids = [sorted((run / "samples").iterdir()) for run in (whole, stopped)]
        assert [path.name for path in grids[0]] == [path.name for path in grids[1]]
        assert [path.read_bytes() for path in grids[0]] == [path.read_bytes() for path in grids[1]]
        assert (stopped / "report.html").exists()
