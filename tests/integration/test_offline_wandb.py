"""A real training, recorded offline and read back with W&B's own reader."""

from __future__ import annotations

import pytest

from tests.support.processes import ALONE, run
from tests.unit.training.tracking.test_wandb import documented, recent, records

OTHER_RUNS = {"memory/device_gb", "precision/scale_d", "precision/scale_g", "augment/p"}  # GPU, fp16, ADA


@pytest.mark.slow
@recent
def test_a_real_run_holds_exactly_the_documented_metrics_and_the_grids_also_after_a_restart(tiny, tmp_path):
    overrides = [override for override in tiny() if not override.startswith("wandb.")] + ["loss.r1_gamma=1"]
    for budget in (120, 240):
        code, output = run([*ALONE, *overrides, f"train.images={budget}"], WANDB_MODE="offline")
        assert code == 0, output
        assert "wandb sync" in output
    pieces = sorted((tmp_path / "quickstart" / "wandb").glob("offline-run-*"))
    assert len(pieces) == 2
    assert len({piece.name.rsplit("-", 1)[1] for piece in pieces}) == 1, "one W&B id for all restarts"
    history = [
        [record["history"]["item"] for record in records(piece) if record["type"] == "history"] for piece in pieces
    ]
    assert [[row["images"] for row in rows if "loss/d" in row] for rows in history] == [[60, 120], [180, 240]]
    documented_now = set(documented("metric")) - OTHER_RUNS
    for rows in history:
        for row in rows:
            grids = row["images"] != 60  # a grid has been drawn; what it showed is in the checkpoint
            expected = documented_now - (set() if grids else {"watchdog/diversity"})
            names = {name for name in row if "/" in name and not name.startswith("samples/")} | {"epoch", "step"}
            assert names - expected == set()
            assert "loss/d" not in row or expected - names == set()
    assert "samples/reals.path" in {name for row in history[0] for name in row}
    assert "samples/fakes.path" in {name for row in history[1] for name in row}
    settings = next(record["run"]["config"]["update"] for record in records(pieces[0]) if record["type"] == "run")
    assert settings["config"]["train"]["batch_size"] == 12
    assert {"git_revision", "data_digest", "versions", "processes", "precision"} <= settings.keys()
    assert list((pieces[0] / "files" / "media" / "images" / "samples").glob("*.png"))
    assert any("artifact" in record["type"] for record in records(pieces[1]))
