"""Running means, metrics.jsonl, sample grids and the tracker without W&B."""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from PIL import Image

from distgan.config.schema import Config
from distgan.training.meters import RunningMeans
from distgan.training.tracking.backend import Samples
from distgan.training.tracking.tracker import (
    MetricsFile,
    Tracker,
    git_revision,
    open_tracker,
    read_metrics,
)
from tests.support import warm


def tracker(directory: Path, start_images: int = 0) -> Tracker:
    config = Config.model_validate({"run": {"dir": directory, "name": "run"}, "wandb": {"mode": "disabled"}})
    made = open_tracker(config, start_images=start_images, run_id="abc", description={})
    assert isinstance(made, Tracker)
    return made


def test_running_means_are_means_over_the_steps_that_had_the_key():
    means = RunningMeans()
    for step in range(4):
        metrics = {"loss/d": torch.tensor(float(step)), "loss/g": torch.tensor([2.0 * step])}
        if step % 2:
            metrics["grad_norm/d"] = torch.tensor(10.0 * step)
        means.add(metrics)
    assert means.reduce() == {"loss/d": 1.5, "loss/g": 3.0, "grad_norm/d": 20.0}
    assert means.reduce() == {}


def test_running_means_add_up_in_double_precision():
    means = RunningMeans()
    for _ in range(10_000):
        means.add({"x": torch.tensor(0.1)})
    assert means.reduce()["x"] == pytest.approx(float(torch.tensor(0.1)), rel=1e-12)


def test_running_means_let_nan_through_and_keep_no_graph():
    means = RunningMeans()
    weight = torch.ones((), requires_grad=True)
    means.add({"x": weight * 2, "half": torch.tensor(1.5, dtype=torch.bfloat16), "bad": torch.tensor(math.nan)})
    reduced = means.reduce()
    assert reduced["x"] == 2.0
    assert reduced["half"] == 1.5
    assert math.isnan(reduced["bad"])


def reduce_on_rank(folder: Path) -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    means = RunningMeans()
    pairs = [("a", 1.0 + rank), ("b", 5.0 * rank)]
    means.add({key: torch.tensor(value) for key, value in (pairs if rank else pairs[::-1])})
    calls = []
    real = dist.all_reduce
    dist.all_reduce = lambda tensor: (calls.append(1), real(tensor))[1]
    (folder / f"{rank}.json").write_text(json.dumps([means.reduce(), len(calls)]))
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_get_the_mean_over_both_with_one_all_reduce(tmp_path: Path):
    assert warm.run(reduce_on_rank, tmp_path, processes=2).code == 0
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == [{"a": 1.5, "b": 2.5}, 1]


def test_every_line_is_strict_json_and_on_disk_at_once(tmp_path: Path):
    file = MetricsFile(tmp_path / "metrics.jsonl", 0)
    file.append(64, {"loss/d": 0.5, "loss/g": math.nan, "grad_norm/d": -math.inf})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line, parse_constant=pytest.fail) for line in lines] == [
        {
            "images": 64,
            "loss/d": 0.5,
            "loss/g": None,
            "grad_norm/d": None,
            "nonfinite": {"loss/g": "nan", "grad_norm/d": "-inf"},
        }
    ]


def test_a_resumed_run_drops_what_is_trained_again_and_a_half_written_line(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        "".join(json.dumps({"images": i, "x": i / 7}) + "\n" for i in (10, 20, 30, 40)) + '{"images": 50, "x'
    )
    file = MetricsFile(path, 30)
    file.append(35, {"x": 1.0})
    assert [row["images"] for row in read_metrics(path)] == [10, 20, 30, 35]
    assert read_metrics(path)[1]["x"] == 20 / 7
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_needs_no_change_is_not_rewritten(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    MetricsFile(path, 0).append(10, {"x": 1.0})
    before = path.stat().st_ino
    MetricsFile(path, 10)
    assert path.stat().st_ino == before


@pytest.mark.parametrize(
    "junk", [b"[]\n", b"7\n", b'{"x": 1}\n', b'{"images": "a"}\n', b"\xff\xfe\n", b"\n", b'{"images": 5}\n']
)
def test_lines_that_are_no_metrics_or_go_back_are_left_out(junk, tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"images": 10}\n' + junk + b'{"images": 20}\n')
    assert [row["images"] for row in read_metrics(path)] == [10, 20]


def test_a_full_disk_is_reported_once_and_its_lines_are_written_when_there_is_room(tmp_path: Path, capsys):
    made = tracker(tmp_path)
    made.log(1, {"x": 1.0})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30, hard))  # the second line fits in part only
    try:
        made.log(2, {"x": 2.0})
        made.log(3, {"x": 3.0})
        made.samples(3, Samples(*2 * [torch.zeros(1, 3, 8, 8, dtype=torch.uint8)]))
        assert [row["images"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [1]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    made.log(4, {"x": 4.0})
    assert [row["images"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [1, 2, 3, 4]
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes().endswith(b'"x": 4.0}\n')
    assert capsys.readouterr().err.count("metrics.jsonl cannot be written") == 1


def test_a_rollback_on_a_full_disk_drops_the_lines_as_soon_as_there_is_room(tmp_path: Path, capsys):
    made = tracker(tmp_path)
    for images in (1, 2, 3):
        made.log(images, {"x": float(images)})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        made.rewind(1)
        made.log(2, {"x": 20.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    made.finish()
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [(row["images"], row["x"]) for row in rows] == [(1, 1.0), (2, 20.0)]


def test_samples_stand_beside_the_reals_and_the_reals_are_written_once(tmp_path: Path):
    made = tracker(tmp_path)
    fakes, reals = (torch.full((4, 3, 32, 32), value, dtype=torch.uint8) for value in (200, 100))
    made.samples(0, Samples(fakes, reals))
    made.samples(12_800, Samples(fakes, reals + 1, interpolation=fakes.repeat(4, 1, 1, 1)))
    folder = tmp_path / "run" / "samples"
    assert sorted(path.name for path in folder.iterdir()) == [
        "fakes-000000000.png", "fakes-000012800.png", "interpolation-000012800.png", "reals.png",
    ]  # fmt: skip
    with Image.open(folder / "fakes-000012800.png") as both, Image.open(folder / "reals.png") as first:
        assert first.getpixel((5, 5)) == (100, 100, 100)
        assert both.getpixel((5, 5)) == (101, 101, 101)
        assert both.getpixel((both.width - 5, 5)) == (200, 200, 200)


def test_curves_show_all_restarts_of_a_run(tmp_path: Path, monkeypatch):
    made = tracker(tmp_path)
    made.log(10, {"loss/d": 1.0})
    made.log(20, {"loss/d": 2.0})
    made.finish()
    drawn = []
    monkeypatch.setattr(
        "distgan.training.tracking.tracker.draw_curves",
        lambda rows, path: drawn.append([row["images"] for row in rows]),
    )
    again = tracker(tmp_path, start_images=10)
    again.log(15, {"loss/d": 3.0})
    again.finish()
    assert drawn == [[10, 15]]
    assert (tmp_path / "run" / "curves.png").exists()


def test_the_git_revision_names_the_commit_and_says_whether_files_differ(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    package = tmp_path / "checkout" / "package"
    package.mkdir(parents=True)
    (package / "code.py").write_text("1")
    assert git_revision(package) is None
    git = ["git", "-C", str(tmp_path / "checkout"), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    assert git_revision(package) is None  # in a checkout, but not part of it
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run([*git, "tag", "v1"], check=True)
    assert git_revision(package) == head
    (package / "code.py").write_text("2")
    assert git_revision(package) == f"{head}-dirty"
    monkeypatch.setenv("PATH", "")
    assert git_revision(package) is None
