"""What is the best of a run, when to evaluate, and when to give up."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from distgan.config.schema import Config
from distgan.metrics.protocol import Protocol, Scores
from distgan.metrics.registry import BETTER
from distgan.training.early_stopping import BestState, EarlyStopping
from distgan.utils.errors import CheckpointError, ConfigError

FD = "fd_efficientnet_lite0"
PROTOCOL = Protocol(
    extractor="efficientnet_lite0",
    extractor_digest="0f",
    resize=112,
    precision="no",
    count=20,
    seeds="0-19",
    reference_digest="aa",
    reference_split="train",
    reference_classes=("star",),
    reference_count=40,
    manifold_k=3,
    density_k=5,
    version=1,
)


def scores(images: int = 0, protocol: Protocol = PROTOCOL, **values: float) -> Scores:
    return Scores(
        protocol=protocol,
        values=values,
        spreads={},
        real_values={},
        images_seen=images,
        weights="ema",
        weight_digest="bb",
    )


def best(every: int | None = 100, extractor: str = "efficientnet_lite0", **options: object) -> EarlyStopping:
    sections = {"evaluate": {"every_images": every, "extractor": extractor}, "best": options}
    config = Config.model_validate(sections)
    return EarlyStopping(config.best, config.evaluate)


def shown(stopping: EarlyStopping, *values: float) -> list[bool]:
    """What it says to these Frechet distances, one step after the other."""
    return [stopping.update(step, scores(step, **{FD: value})) for step, value in enumerate(values, 1)]


def test_a_lower_frechet_distance_is_better_and_an_equal_one_is_not():
    stopping = best()
    assert shown(stopping, 9.0, 8.0, 8.5, 8.0, 7.0) == [True, True, False, False, True]
    assert stopping.step == 5
    assert stopping.described() == "7 at 5 images"


def test_a_higher_share_of_recognised_shapes_is_better():
    stopping = best(extractor="none")
    found = [stopping.update(step, scores(shapes_recognised=value)) for step, value in enumerate((0.0, 0.5, 0.4), 1)]
    assert found == [True, True, False]
    assert stopping.step == 2


@pytest.mark.parametrize(
    ("extractor", "metric"), [("efficientnet_lite0", FD), ("inception", "fid"), ("none", "shapes_recognised")]
)
def test_the_usual_metric_belongs_to_the_extractor_and_another_may_be_chosen(extractor, metric):
    assert best(extractor=extractor).metric == metric
    assert best(extractor=extractor, metric="shapes_classes").metric == "shapes_classes"
    assert metric in BETTER


def test_without_a_value_of_the_metric_nothing_is_the_best():
    stopping = best(patience=2)
    assert not stopping.update(1, scores(kd_efficientnet_lite0=1.0))
    assert (stopping.step, stopping.exhausted) == (None, False)
    assert stopping.update(2, scores(**{FD: 5.0}))
    assert not stopping.update(3, scores(kd_efficientnet_lite0=0.0))
    assert (stopping.step, stopping.memory.without) == (2, 1)


def test_patience_ends_after_so_many_evaluations_in_a_row_and_a_better_one_restores_it():
    stopping = best(patience=2)
    shown(stopping, 9.0, 9.5, 8.0, 8.5)
    assert not stopping.exhausted
    shown(stopping, 8.1)
    assert stopping.exhausted
    shown(stopping, 7.0)
    assert not stopping.exhausted


@pytest.mark.parametrize("other", [{}, {"patience": 3}, {"patience": 2, "metric": "kd_efficientnet_lite0"}])
def test_a_run_that_was_given_up_goes_on_with_more_patience_or_another_metric(other):
    stopping = best(patience=2)
    shown(stopping, 1.0, 2.0, 3.0)
    assert stopping.exhausted
    later = best(**other)
    later.restore({"best": stopping.memory.model_dump(mode="json")})
    assert not later.exhausted


def test_patience_without_evaluations_is_refused():
    with pytest.raises(
        ValidationError, match="best.patience=1 needs evaluations, and there are none; set evaluate.every"
    ):
        best(every=None, patience=1)


def test_scores_by_another_protocol_begin_anew():
    stopping = best()
    shown(stopping, 1.0)
    other = PROTOCOL.model_copy(update={"count": 40})
    assert stopping.update(2, scores(protocol=other, **{FD: 50.0}))
    assert not stopping.update(3, scores(protocol=other, **{FD: 51.0}))


def test_the_best_by_another_metric_is_forgotten():
    stopping = best()
    kd = "kd_efficientnet_lite0"
    stopping.update(1, scores(**{FD: 1.0, kd: 0.1}))
    later = best(metric=kd)
    later.memory = stopping.memory
    assert later.update(2, scores(**{FD: 2.0, kd: 0.2}))


def test_an_evaluation_is_due_when_so_many_more_images_are_full_and_at_the_end():
    stopping = best(every=100)
    assert [images for images in (48, 96, 144, 192) if stopping.due(images, last=False)] == [144, 192]
    stopping.update(3, scores(144, **{FD: 1.0}))
    assert [images for images in (192, 240, 288) if stopping.due(images, last=False)] == [240, 288]
    assert stopping.due(192, last=True)
    assert not stopping.due(144, last=True), "that state has its scores"
    assert not best(every=None).due(1000, last=True)


def test_the_scores_of_a_state_are_those_of_the_last_evaluation_if_it_was_then():
    stopping = best()
    shown(stopping, 4.0, 5.0)
    assert stopping.scores_of(2).values == {FD: 5.0}
    assert stopping.scores_of(3) is None
    assert best().scores_of(0) is None


def test_the_memory_survives_a_checkpoint():
    stopping = best(patience=3)
    shown(stopping, 3.0, 2.0, 2.5)
    restored = best(patience=3)
    restored.restore(json.loads(json.dumps({"best": stopping.memory.model_dump(mode="json")})))
    assert restored.memory == stopping.memory
    assert restored.memory.without == 1


def test_a_checkpoint_from_before_there_were_evaluations_has_an_empty_memory():
    stopping = best()
    stopping.restore({"watchdog": {}})
    assert stopping.memory == BestState()


@pytest.mark.parametrize(
    "memory",
    [
        7,
        {"without": -1},
        {"without": "\x1b[2J"},
        {"top": {"metric": "fid", "step": 1, "scores": scores(**{FD: 1.0}).model_dump(mode="json")}},
        {"last": {"values": {}}},
    ],
)
def test_a_forged_memory_is_a_damaged_checkpoint(memory):
    with pytest.raises(CheckpointError, match=r"the checkpoint is damaged: best[.:]"):
        best().restore({"best": memory})


def test_a_metric_that_is_not_given_is_refused_with_the_nearest():
    with pytest.raises(
        ConfigError, match=r"best\.metric=fdd is no score .*; nearest: fd_efficientnet_lite0 \(there are"
    ):
        best(metric="fdd").check([FD, "kd_efficientnet_lite0"])
    best().check([FD])
