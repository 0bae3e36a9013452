"""Trackers in threads of their own: what one raises or how long it hangs does not reach the training."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import torch
from PIL import Image

from distgan.config.schema import Config
from distgan.training.tracking import bounded
from distgan.training.tracking.backend import Samples, TrackerBackend
from distgan.training.tracking.bounded import Bounded
from distgan.training.tracking.tracker import check_trackers, open_tracker
from distgan.utils.errors import ConfigError

GRID = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)


class Recorder(TrackerBackend):
    """Notes every call, with its thread."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.threads = {threading.current_thread().name}

    def note(self, *call: object) -> None:
        self.calls.append(call)
        self.threads.add(threading.current_thread().name)

    def log(self, images, metrics):
        self.note("log", images, metrics)
        if metrics.get("bad"):
            raise OSError("no space left")

    def rewind(self, images):
        self.note("rewind", images)

    def page(self, path):
        self.note("page", path)

    def finish(self, exit_code=0):
        self.note("finish", exit_code)


def test_all_calls_of_a_tracker_come_in_order_in_one_thread_which_is_not_the_training_s(tmp_path):
    recorders: list[Recorder] = []

    def make() -> Recorder:
        recorders.append(Recorder())
        return recorders[0]

    tracker = Bounded("mine", make)
    tracker.rewind(0)
    tracker.log(10, {"x": 1.0})
    tracker.page(tmp_path)
    tracker.finish()
    (recorder,) = recorders
    assert recorder.calls == [("rewind", 0), ("log", 10, {"x": 1.0}), ("page", tmp_path), ("finish", 0)]
    assert recorder.threads == {"distgan-mine"}


def test_a_call_that_raises_is_reported_once_and_the_next_ones_are_made(capsys):
    recorder = Recorder()
    tracker = Bounded("mine", lambda: recorder)
    for images in (1, 2, 3):
        tracker.log(images, {"bad": float(images < 3)})
    tracker.finish(7)
    assert [call[0] for call in recorder.calls] == ["log", "log", "log", "finish"]
    assert recorder.calls[-1] == ("finish", 7)
    assert capsys.readouterr().err.count("tracker mine: log failed (no space left); training goes on") == 1


def test_a_tracker_that_hangs_blocks_neither_a_call_nor_the_end(monkeypatch, capsys):
    monkeypatch.setattr(bounded, "FINISH_SECONDS", 0.2)
    hang = threading.Event()

    class Hangs(TrackerBackend):
        def log(self, images, metrics):
            hang.wait()

    tracker = Bounded("mine", Hangs)
    for images in range(2000):  # more than the queue takes
        tracker.log(images, {"x": 1.0})
    tracker.finish()
    hang.set()
    shown = capsys.readouterr().err
    assert "mine is too slow (in log): rows are being dropped" in shown
    assert "tracker mine did not end within 0 s" in shown


def test_a_tracker_that_does_not_start_is_left_out_and_a_mistake_at_its_start_is_raised(monkeypatch, capsys):
    monkeypatch.setattr(bounded, "START_SECONDS", 0.2)
    hang = threading.Event()
    tracker = Bounded("mine", lambda: hang.wait() and TrackerBackend())
    tracker.log(1, {})
    tracker.finish()
    hang.set()
    assert "mine is off for the rest of this run: it has not started within 0 s" in capsys.readouterr().err

    def refuse() -> TrackerBackend:
        raise ConfigError("it needs an extra")

    with pytest.raises(ConfigError, match="it needs an extra"):
        Bounded("mine", refuse)


def test_a_tracker_that_has_begun_is_finished_where_the_next_refuses(tmp_path, monkeypatch):
    begun = Recorder()

    def begin(name, build):
        if name == "trackio":
            raise ConfigError("it needs an extra")
        return begun

    monkeypatch.setattr("distgan.training.tracking.tracker.Bounded", begin)
    with pytest.raises(ConfigError, match="it needs an extra"):
        open_tracker(config(tmp_path, "tensorboard", "trackio"), start_images=0, run_id="abc", description={})
    assert begun.calls == [("finish", 1)]


def config(directory, *trackers: object) -> Config:
    return Config.model_validate({"run": {"dir": directory, "name": "run"}, "log": {"to": list(trackers)}})


def test_an_empty_list_leaves_only_the_files_and_starts_no_wandb(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "nonsense")  # is not looked at
    check_trackers(config(tmp_path))
    made = open_tracker(config(tmp_path), start_images=0, run_id="abc", description={})
    made.log(1, {"x": 1.0})
    made.finish()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["curves.png", "metrics.jsonl", "samples"]


@pytest.mark.parametrize("name", ["tensorboard", "trackio"])
def test_a_tracker_whose_extra_is_missing_is_a_sentence_before_training(name, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=rf'log.to={name} needs the package {name}: pip install "distgan\[{name}\]"'):
        check_trackers(config(tmp_path, name))


def log_and_rewind(directory, tracker: str) -> None:
    """Two starts of a run with a rollback in the second; the line after 30 images is trained three times."""
    for start, rows in ((0, (10, 20, 30)), (20, (30, 40))):
        made = open_tracker(config(directory, tracker), start_images=start, run_id="abc", description={"run_id": "abc"})
        for images in rows:
            made.log(images, {"loss/d": images + start / 100, "step": images})
            made.samples(images, Samples(GRID + images, GRID))
        if start:
            made.event(40, "collapse", "the samples are alike", True)
            made.rewind(20)
            made.log(30, {"loss/d": 3.0})
        made.finish()


def test_tensorboard_shows_each_moment_once_after_a_kill_and_a_rollback(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log_and_rewind(tmp_path, "tensorboard")
    read = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"images": 0})
    read.Reload()
    assert [(event.step, event.value) for event in read.Scalars("loss/d")] == [(10, 10), (20, 20), (30, 3)]
    assert [event.step for event in read.Images("samples/fakes")] == [10, 20]
    assert {"samples/fakes", "samples/reals"} <= set(read.Tags()["images"])
    assert "settings/text_summary" in read.Tags()["tensors"]


def size(file):
    with Image.open(file) as image:
        return image.size


def test_trackio_shows_each_moment_once_after_a_kill_and_a_rollback(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    trackio = pytest.importorskip("trackio")
    storage = pytest.importorskip("trackio.sqlite_storage").SQLiteStorage
    log_and_rewind(tmp_path, "trackio")
    (run,) = trackio.Api().runs("distgan")
    assert run.name == "run-abc"
    rows = storage.get_logs("distgan", "run-abc")
    curve = [(row["step"], row["loss/d"]) for row in rows if "loss/d" in row]
    assert sorted(curve) == [(10, 10), (20, 20), (30, 3)]
    shown = [row for row in rows if "samples/fakes" in row]
    assert {row["step"] for row in shown} == {10, 20}
    files = [next((tmp_path / "trackio").rglob(Path(row["samples/fakes"]["file_path"]).name)) for row in shown]
    (alone,) = tmp_path.rglob("reals.png")
    assert {size(file) for file in files} == {size(alone)}, "the reals beside them are left out"
    assert json.loads(json.dumps(run.config))["run_id"] == "abc"
