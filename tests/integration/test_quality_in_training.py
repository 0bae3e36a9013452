"""Real small trainings that are evaluated: what they write, what they keep, when they end, and how they go on."""

from __future__ import annotations

import itertools
import json
import os
import signal
from pathlib import Path

import pytest
from PIL import Image

from distgan import load_generator, train
from distgan.cli import main
from distgan.config.load import load_config
from distgan.distributed.stop import StopReason, StopSignal
from distgan.metrics.evaluator import Evaluator
from distgan.metrics.registry import BETTER
from distgan.training.checkpoint import storage
from distgan.training.tracking.tracker import read_metrics
from distgan.training.trainer import Trainer
from distgan.training.watchdog import Watchdog
from tests.support.config import SCORED
from tests.unit.training.tracking.test_wandb import documented, recent, records

FD = "fd_efficientnet_lite0"


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def never_the_user_s_cache(shared_cache, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))


@pytest.fixture
def scored(tiny):
    """Overrides of a quick run that is evaluated after each fifth step; more may be given."""
    return lambda *more: tiny(*SCORED, *more)


@pytest.fixture
def rigged(monkeypatch):
    """Makes the distances what the test says, one evaluation after the other; all else of them is real."""
    original = Evaluator.evaluate

    def rig(*values: float) -> None:
        said = iter(values)

        def evaluate(self, generator):
            scores = original(self, generator)
            return scores.model_copy(update={"values": scores.values | {FD: next(said)}})

        monkeypatch.setattr(Evaluator, "evaluate", evaluate)

    return rig


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]


def distances(run: Path) -> dict[int, float]:
    return {line["images"]: line["scores"]["values"][FD] for line in lines(run)}


def steps_of(run: Path) -> list[int]:
    return storage.steps(run / "checkpoints")


def memory_of(run: Path, step: int) -> dict:
    return storage.load(run / "checkpoints" / f"step-{step:09d}")[1]["best"]


# What a training writes


@pytest.mark.slow
def test_a_training_writes_its_scores_its_best_generator_and_a_report(scored, tmp_path, capsys):
    assert train.main(scored()) == 0
    run, printed = tmp_path / "quickstart", capsys.readouterr().err
    found = lines(run)
    assert (
        [line["images"] for line in found] == [line["scores"]["images_seen"] for line in found] == [60, 120, 180, 240]
    )
    assert all(line["scores"]["protocol"] == found[0]["scores"]["protocol"] for line in found)

    least = min(found, key=lambda line: line["scores"]["values"][FD])
    best, last = load_generator(run / "best.safetensors"), load_generator(run / "generator.safetensors")
    assert best.description.scores == least["scores"]
    assert best.images_seen == least["images"]
    assert best.weight_digest == least["scores"]["weight_digest"], "it is the generator that was evaluated"
    assert last.description.scores == found[-1]["scores"]
    assert last.weight_digest == found[-1]["scores"]["weight_digest"]

    rows = read_metrics(run / "metrics.jsonl")
    assert [row["images"] for row in rows] == [60, 120, 180, 240]
    for row, line in zip(rows, found, strict=True):
        assert {f"quality/{name}": value for name, value in line["scores"]["values"].items()}.items() <= row.items()

    value = found[0]["scores"]["values"][FD]
    assert f"quality at 60 images: {FD} {value:.4g} (best so far), shapes_recognised" in printed
    assert "WARNING" not in printed
    assert f"done: 240 images; see {run}/report.html" in printed
    assert FD in (run / "report.html").read_text()


@pytest.mark.slow
def test_the_scores_are_those_of_distgan_evaluate(scored, tmp_path):
    """The run's own file, read again and evaluated by the same protocol."""
    assert train.main(scored()) == 0
    config = load_config("quickstart", scored())
    again = Evaluator(
        config.evaluate, config.data, load_generator(tmp_path / "quickstart/best.safetensors").device, False
    )
    generator = load_generator(tmp_path / "quickstart" / "generator.safetensors")
    scores = again.evaluate(generator)
    expected = generator.description.scores
    assert scores.protocol.model_dump(mode="json") == expected["protocol"]
    assert scores.values == pytest.approx(expected["values"], rel=1e-4)


@pytest.mark.slow
def test_evaluations_change_nothing_in_the_training(tiny, scored, tmp_path):
    assert train.main(tiny("run.name=plain")) == 0
    assert train.main(scored("run.name=scored")) == 0
    plain, scored_too = (
        storage.load(tmp_path / name / "checkpoints" / "step-000000020")[0] for name in ("plain", "scored")
    )
    assert plain.keys() == scored_too.keys()
    assert all(scored_too[name].equal(tensor) for name, tensor in plain.items())


def test_without_a_network_the_shapes_alone_are_judged(tiny, tmp_path):
    options = "evaluate.every_images=24", "evaluate.extractor=none", "evaluate.count=20", "train.images=48"
    assert train.main(tiny(*options)) == 0
    found = lines(tmp_path / "quickstart")
    assert [line["images"] for line in found] == [24, 48]
    assert all(name.startswith("shapes_") for line in found for name in line["scores"]["values"])
    assert memory_of(tmp_path / "quickstart", 4)["top"]["metric"] == "shapes_recognised"


def test_a_training_without_evaluations_has_neither_scores_nor_a_best_generator(tiny, tmp_path):
    assert train.main(tiny("train.images=24")) == 0
    run = tmp_path / "quickstart"
    assert not (run / "scores.jsonl").exists()
    assert not (run / "best.safetensors").exists()
    assert load_generator(run / "generator.safetensors").description.scores is None
    assert (run / "report.html").exists()


def test_every_score_is_documented():
    assert set(documented("score")) == {f"quality/{name}" for name in BETTER}


@pytest.mark.slow
@recent
def test_wandb_gets_the_scores_the_protocol_and_the_best_and_the_latest_generator(
    scored, tmp_path, monkeypatch, rigged
):
    rigged(4.0, 2.0, 3.0, 3.5)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert train.main([override for override in scored() if not override.startswith("wandb.")]) == 0
    run = tmp_path / "quickstart"
    (piece,) = (run / "wandb").glob("offline-run-*")
    found = records(piece)
    history = [record["history"]["item"] for record in found if record["type"] == "history"]
    assert {row["images"]: row[f"quality/{FD}"] for row in history if f"quality/{FD}" in row} == distances(run)
    settings = next(record["run"]["config"]["update"] for record in found if record["type"] == "run")
    protocol = lines(run)[0]["scores"]["protocol"]
    written = {name: value for name, value in protocol.items() if value != {}}
    assert {name: settings[f"run/protocol_{name}"] for name in written} == written
    artifacts = [record["artifact"] for record in found if record["type"] == "artifact"]
    assert ["best" in artifact["aliases"] for artifact in artifacts] == [True, True, False]
    # the first best at once, the next within ten minutes at the end
    for artifact, images in zip(artifacts, (60, 120, 240), strict=True):
        metadata = json.loads(artifact["metadata"])
        assert metadata["images_seen"] == images
        assert metadata["scores"] in [line["scores"] for line in lines(run) if line["images"] == images]


# Mistakes


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("best.metric=fd", "best.metric=fd is no score that this training is given; nearest: fd_efficientnet_lite0"),
        ("best.metric=fid", "best.metric=fid is no score that this training is given"),
        ("best.metric=shapes_right_klass", "nearest: shapes_right_class"),
        ("evaluate.count=5", "evaluate.count=5 must be greater than or equal to 20; nearest valid: 20"),
        ("evaluate.reference_count=400", "evaluate.reference_count=400 must be 20 to 300"),
        ("evaluate.reference=nowhere", "nowhere"),
    ],
)
def test_a_mistake_is_told_before_the_first_step(scored, tmp_path, capsys, monkeypatch, option, sentence):
    monkeypatch.setattr(Trainer, "step", None)
    assert train.main(scored(option)) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "quickstart" / "metrics.jsonl").exists()


@pytest.mark.slow
def test_a_value_that_is_nan_is_never_the_best_and_no_crash(scored, tmp_path, monkeypatch):
    from distgan.metrics import distances as values

    original, calls = values.frechet_distance, itertools.count()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))  # so that the floor is the first call
    monkeypatch.setattr(values, "frechet_distance", lambda *sets: float("nan") if next(calls) == 1 else original(*sets))
    assert train.main(scored("train.images=120")) == 0
    first, second = lines(tmp_path / "quickstart")
    assert FD not in first["scores"]["values"]
    assert "kd_efficientnet_lite0" in first["scores"]["values"]
    assert load_generator(tmp_path / "quickstart" / "best.safetensors").description.scores == second["scores"]


@pytest.mark.slow
def test_a_best_generator_that_cannot_be_written_is_a_warning(scored, tmp_path, capsys):
    (tmp_path / "quickstart" / "best.safetensors").mkdir(parents=True)
    assert train.main(scored("train.images=60")) == 0
    assert "best.safetensors cannot be written" in capsys.readouterr().err
    assert memory_of(tmp_path / "quickstart", 5)["top"]["step"] == 5


# The best state


@pytest.mark.slow
def test_the_checkpoint_of_the_best_state_outlives_the_rotation(scored, tmp_path, rigged):
    rigged(3.0, 4.0, 4.0, 4.5)
    options = scored("evaluate.every_images=61", "checkpoint.every_steps=7", "checkpoint.keep_last=1")
    assert train.main(options) == 0
    run = tmp_path / "quickstart"
    assert steps_of(run) == [6, 20], "step 6 is no seventh: its checkpoint was written because it is the best"
    tensors, values = storage.load(run / "checkpoints" / "step-000000006")
    assert values["best"]["top"]["step"] == 6
    best = load_generator(run / "best.safetensors").network.state_dict()
    assert all(tensors[f"ema/{name}"].equal(tensor) for name, tensor in best.items())


@pytest.mark.slow
def test_a_run_that_begins_from_another_one_seeks_its_own_best(scored, tmp_path, rigged):
    rigged(1.0, 3.0, 3.5, 4.0, 2.0)
    assert train.main(scored("train.images=120")) == 0
    start = tmp_path / "quickstart" / "checkpoints" / "step-000000010"
    assert train.main(scored("run.name=other", "--resume", str(start))) == 0
    assert load_generator(tmp_path / "other" / "best.safetensors").images_seen == 240
    assert distances(tmp_path / "other") == {132: 3.5, 180: 4.0, 240: 2.0}


# Going on after an end


@pytest.mark.slow
def test_a_resumed_training_has_the_lines_and_the_memory_of_an_unbroken_one(scored, tmp_path, monkeypatch):
    assert train.main(scored("run.name=whole")) == 0
    original = Trainer.step

    def dies(self, reals):
        if self.steps == 13:
            raise KeyboardInterrupt
        return original(self, reals)

    monkeypatch.setattr(Trainer, "step", dies)
    assert train.main(scored("run.name=broken", "checkpoint.every_steps=4")) == 130
    assert steps_of(tmp_path / "broken")[-1] in (8, 10, 12)
    monkeypatch.setattr(Trainer, "step", original)
    assert train.main(scored("run.name=broken", "checkpoint.every_steps=4")) == 0
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert lines(broken) == lines(whole)
    assert memory_of(broken, 20) == memory_of(whole, 20)
    descriptions = [load_generator(run / "best.safetensors").description for run in (whole, broken)]
    assert descriptions[0].scores == descriptions[1].scores


@pytest.mark.slow
def test_a_rollback_takes_back_the_scores_and_the_memory(scored, tmp_path, monkeypatch, rigged):
    """A collapse is found at step 12; that of step 10, the best, is given up, and step 5 comes back."""
    rigged(3.0, 1.0, 2.0, 5.0, 6.0)
    original, told = Watchdog.check_samples, []

    def look(self, step, diversity):
        fallen = step == 12 and not told
        told.extend([step] if fallen else [])
        return original(self, step, 0.0 if fallen else 1.0)

    monkeypatch.setattr(Watchdog, "check_samples", look)
    assert train.main(scored("watchdog.collapse=rollback", "log.samples_every_steps=6")) == 0
    run = tmp_path / "quickstart"
    assert "back to step 5" in (run / "events.jsonl").read_text()
    assert distances(run) == {60: 3.0, 120: 2.0, 180: 5.0, 240: 6.0}
    assert [line["images"] for line in lines(run)] == [60, 120, 180, 240]
    assert memory_of(run, 20)["top"]["scores"]["values"][FD] == 2.0
    assert load_generator(run / "best.safetensors").description.scores == lines(run)[1]["scores"]


@pytest.mark.slow
def test_patience_ends_training_like_the_budget_and_then_there_is_nothing_to_do(scored, tmp_path, capsys, rigged):
    rigged(2.0, 3.0, 2.5, 1.0)
    assert train.main(scored("best.patience=2")) == 0
    run, printed = tmp_path / "quickstart", capsys.readouterr().err
    why = f"2 evaluations in a row without a better {FD} than 2 at 60 images, which is in {run}/best.safetensors"
    assert f"done: {why}; set best.patience higher, or null, to go on; see {run}/report.html" in printed
    assert steps_of(run)[-1] == 15
    generator = load_generator(run / "generator.safetensors")
    assert (generator.images_seen, generator.description.scores["values"][FD]) == (180, 2.5)
    assert (run / "report.html").exists()
    assert (run / "samples" / "fakes-000000180.png").exists()

    assert train.main(scored("best.patience=2")) == 0
    assert f"nothing to do: {why}" in capsys.readouterr().err
    assert load_generator(run / "generator.safetensors").description.scores == generator.description.scores

    assert train.main(scored("best.patience=null")) == 0
    assert load_generator(run / "generator.safetensors").images_seen == 240
    assert load_generator(run / "best.safetensors").images_seen == 240


@pytest.mark.slow
def test_the_time_of_a_start_ends_it_and_the_same_command_goes_on(scored, tmp_path, capsys, monkeypatch):
    """A step counts as a second, on a clock of its own; evaluations take an hour, which does not count."""
    from distgan.training import meters

    now = [0.0]
    monkeypatch.setattr(meters.time, "perf_counter", lambda: now[0])
    step, evaluate = Trainer.step, Evaluator.evaluate

    def second(self, reals):
        now[0] += 1
        return step(self, reals)

    def hour(self, generator):
        now[0] += 3600
        return evaluate(self, generator)

    monkeypatch.setattr(Trainer, "step", second)
    monkeypatch.setattr(Evaluator, "evaluate", hour)
    run = tmp_path / "quickstart"
    assert train.main(scored("train.seconds=12.5")) == 0
    printed = capsys.readouterr().err
    assert "done: train.seconds=12.5 are used up at 156 images; the same command goes on from here" in printed
    assert steps_of(run)[-1] == 13
    assert [line["images"] for line in lines(run)] == [60, 120, 156]
    assert load_generator(run / "generator.safetensors").description.scores == lines(run)[-1]["scores"]
    speeds = [row["speed/images_per_second"] for row in read_metrics(run / "metrics.jsonl")]
    assert speeds == [12.0] * 3, "12 images a step, however long the evaluations take"
    assert train.main(scored("train.seconds=12.5")) == 0
    assert "done: 240 images" in capsys.readouterr().err
    assert [line["images"] for line in lines(run)] == [60, 120, 156, 180, 240]


@pytest.mark.slow
def test_after_a_signal_nothing_is_evaluated_and_the_next_start_evaluates_what_was_due(scored, tmp_path, monkeypatch):
    """It comes in the step after which an evaluation is due."""
    step = Trainer.step

    def interrupted(self, reals):
        if self.steps == 9:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, reals)

    monkeypatch.setattr(Trainer, "step", interrupted)
    assert train.main(scored()) == 143
    run = tmp_path / "quickstart"
    assert steps_of(run)[-1] == 10
    assert [line["images"] for line in lines(run)] == [60]
    assert not (run / "report.html").exists()
    assert load_generator(run / "generator.safetensors").description.scores is None
    assert train.main(scored()) == 0
    assert [line["images"] for line in lines(run)] == [60, 120, 180, 240]


def test_the_end_of_the_time_gives_way_to_every_other_reason_and_is_no_hurry():
    stop = StopSignal(minutes=1)
    stop.request(StopReason.TIME_LIMIT)
    assert (stop.agreed(), stop.hurried) == (StopReason.TIME_LIMIT, False)
    stop.request(StopReason.SIGTERM)
    stop.request(StopReason.TIME_LIMIT)
    assert (stop.agreed(), stop.hurried) == (StopReason.SIGTERM, True)
    stop.request(StopReason.SIGINT)
    assert stop.agreed() == StopReason.SIGTERM, "the first one counts"
    urgent = [reason for reason in StopReason if reason.urgent]
    assert min(urgent) > StopReason.TIME_LIMIT, "of several ranks' reasons the greatest counts"


@pytest.mark.slow
def test_a_report_that_fails_is_only_a_warning(tiny, tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise MemoryError("too many images")

    monkeypatch.setattr("distgan.training.finish.write_report", fail)
    assert train.main(tiny("train.images=24")) == 0
    printed = capsys.readouterr().err
    assert "WARNING: no report: MemoryError: too many images; `distgan report" in printed
    assert "done: 24 images" in printed


@pytest.mark.slow
def test_a_collapse_that_ends_training_leaves_the_best_generator_and_a_report(scored, tmp_path, capsys, monkeypatch):
    original = Watchdog.check_samples
    monkeypatch.setattr(
        Watchdog, "check_samples", lambda self, step, _: original(self, step, 1.0 if step < 20 else 0.0)
    )
    assert train.main(scored("watchdog.collapse=stop")) == 4
    run = tmp_path / "quickstart"
    assert "watchdog.collapse=stop ends training here" in capsys.readouterr().err
    assert load_generator(run / "best.safetensors").description.scores in [line["scores"] for line in lines(run)]
    assert [line["images"] for line in lines(run)] == [60, 120, 180], "the collapsed state is not evaluated"
    assert FD in (run / "report.html").read_text()


def test_a_reference_of_another_size_is_refused_before_the_first_step(scored, tmp_path, capsys):
    (tmp_path / "images" / "grey").mkdir(parents=True)
    for index in range(70):
        Image.new("RGB", (16, 16), (index, index, index)).save(tmp_path / "images" / "grey" / f"{index}.png")
    assert main.main(["prepare", "folder", f"{tmp_path}/images", "--out", f"{tmp_path}/small", "--size", "16"]) == 0
    assert train.main(scored(f"evaluate.reference={tmp_path}/small")) == 2
    assert "the generator makes images of 32x32, the reference has 16x16" in capsys.readouterr().err
    assert not (tmp_path / "quickstart" / "metrics.jsonl").exists()
