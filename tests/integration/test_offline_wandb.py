"""A real training, recorded offline and read back with W&B's own reader."""

from __future__ import annotations

import pytest

from tests.support.processes import ALONE, run
from tests.unit.training.tracking.test_wandb import documented, recent, records

OTHER_RUNS = {  # with a GPU, fp16, ADA, balance, another learning rate, spectral norm, several processes, faults
    "loss/mode_seeking",
    "memory/device_gb", "speed/peak_share", "precision/scale_d", "precision/scale_g", "augment/p",
    "balance/lr_scale", "balance/dropout", "balance/action", "lr/d", "lr/g",
    "d/spectral_norm_min", "d/spectral_norm_max",
    "ranks/step_seconds_fastest", "ranks/step_seconds_slowest", "ranks/data_wait_lowest", "ranks/data_wait_highest",
    "data/skipped", "watchdog/rollbacks",
}  # fmt: skip
RUN_FACTS = (
    "git_revision", "git_clean", "data_digest", "versions_torch", "processes", "machines", "device", "precision",
    "parameters_g", "parameters_d", "flops_per_step", "command", "images",
)  # fmt: skip


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
            if "loss/d" in row:
                names = {name for name in row if not name.startswith(("samples/", "report.", "_")) and name != "images"}
                # D's opinion of the last grid is not in the checkpoint
                assert documented_now - names <= ({"d/samples_logit"} if row["images"] == 180 else set())
                assert names <= documented_now
    assert "samples/reals.path" in {name for row in history[0] for name in row}
    assert "samples/fakes.path" in {name for row in history[1] for name in row}
    settings = next(record["run"]["config"]["update"] for record in records(pieces[0]) if record["type"] == "run")
    assert settings["train.batch_size"] == 12
    assert {f"run/{name}" for name in RUN_FACTS} <= settings.keys()
    assert "train.images=120" in settings["run/command"]
    assert list((pieces[0] / "files" / "media" / "images" / "samples").glob("*.png"))
    assert any("artifact" in record["type"] for record in records(pieces[1]))
