"""A killed training goes on, and its records beside W&B hold every moment once."""

from __future__ import annotations

import importlib.util
import json

import pytest

from distgan.training.tracking.jsonl import read_metrics
from tests.support.processes import ALONE, kill_all, run, start, wait_for

pytestmark = pytest.mark.slow


def test_tensorboard_and_trackio_hold_what_metrics_jsonl_holds_after_a_kill(tiny, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trackers = ["tensorboard", "trackio"] if importlib.util.find_spec("trackio") else ["tensorboard"]
    overrides = tiny(f"log.to={','.join(trackers)}", "train.images=2400", "checkpoint.every_steps=20")
    where = {"TRACKIO_DIR": str(tmp_path / "trackio")}
    process = start([*ALONE, *overrides], tmp_path / "log", **where)
    metrics = tmp_path / "quickstart" / "metrics.jsonl"
    wait_for(lambda: len(read_metrics(metrics)) > 7, process)
    kill_all(process)
    code, output = run([*ALONE, *overrides], **where)
    assert code == 0, output
    assert "resum" in output
    expected = [(row["images"], pytest.approx(row["loss/d"])) for row in read_metrics(metrics)]
    read = accumulator.EventAccumulator(str(tmp_path / "quickstart" / "tensorboard"), size_guidance={"images": 0})
    read.Reload()
    assert [(event.step, event.value) for event in read.Scalars("loss/d")] == expected
    grids = sorted((tmp_path / "quickstart" / "samples").glob("fakes-*.png"))
    assert [event.step for event in read.Images("samples/fakes")] == [int(grid.stem[6:]) for grid in grids]
    if "trackio" in trackers:
        script = "import sys, json; from trackio.sqlite_storage import SQLiteStorage as S; import trackio\n"
        script += "(r,) = trackio.Api().runs('distgan'); rows = S.get_logs('distgan', r.name)\n"
        script += "json.dump(sorted((row['step'], row['loss/d']) for row in rows if 'loss/d' in row), sys.stdout)"
        _, output = run([ALONE[0], "-c", script], **where)
        assert [tuple(pair) for pair in json.loads(output)] == expected
