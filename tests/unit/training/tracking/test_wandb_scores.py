"""What a W&B run's summary and its lines beside the scores say."""

from __future__ import annotations

import json
from pathlib import Path

from distgan.training.tracking.wandb_scores import ScoreHistory
from tests.unit.training.test_early_stopping import FD, PROTOCOL, scores

RECALL = "recall_efficientnet_lite0"


def write(directory: Path, *evaluations, seconds: bool = True) -> Path:
    with (directory / "scores.jsonl").open("w") as file:
        for each in evaluations:
            file.write(json.dumps({"images": each.images_seen, "scores": each.model_dump(mode="json")}) + "\n")
    if seconds:
        with (directory / "metrics.jsonl").open("w") as file:
            for each in evaluations:
                file.write(json.dumps({"images": each.images_seen, "seconds": each.images_seen / 10}) + "\n")
    return directory


def evaluation(images: int, fd: float, recall: float, protocol=PROTOCOL):
    return scores(images, protocol, **{FD: fd, RECALL: recall}).model_copy(update={"real_values": {FD: 1.5}})


def test_every_score_has_its_best_by_its_direction_and_its_last_and_the_best_its_time(tmp_path):
    history = ScoreHistory(write(tmp_path, evaluation(100, 9.0, 0.1), evaluation(200, 7.0, 0.3)))
    history.add(evaluation(300, 8.0, 0.2).model_dump(mode="json"))
    history.note_time(300, 31.0)
    assert history.summary(FD) == {
        f"quality/{FD}": {"min": 7.0, "last": 8.0},
        f"quality/{RECALL}": {"max": 0.3, "last": 0.2},
        "best/score": 7.0,
        "best/images": 200,
        "best/seconds": 20.0,
    }
    assert history.curves() == {f"quality_best/{FD}": 7.0, f"quality_best/{RECALL}": 0.3, f"quality_real/{FD}": 1.5}
    history.add(evaluation(400, 6.0, 0.2).model_dump(mode="json"))
    history.note_time(400, 41.0)
    assert history.summary(FD)["best/seconds"] == 41.0
    history.rewind(300)
    assert history.summary(FD)["best/images"] == 200, "a rollback has that part trained again"


def test_scores_by_another_protocol_are_not_compared_with_the_last(tmp_path):
    other = PROTOCOL.model_copy(update={"count": 50})
    run = write(tmp_path, evaluation(100, 1.0, 0.9, other), evaluation(200, 7.0, 0.3), seconds=False)
    assert ScoreHistory(run).summary(FD)[f"quality/{FD}"] == {"min": 7.0, "last": 7.0}
    assert "best/seconds" not in ScoreHistory(run).summary(FD), "metrics.jsonl does not say"


def test_a_run_without_scores_has_no_summary_of_them_and_a_line_that_somebody_has_edited_is_left_out(tmp_path):
    assert ScoreHistory(tmp_path).summary(FD) == {}
    assert ScoreHistory(tmp_path).curves() == {}
    run = write(tmp_path, evaluation(100, 9.0, 0.1))
    with (run / "scores.jsonl").open("a") as file:
        file.write('{"images": 200, "scores": {"values": {"fd": "none"}}}\n')
    assert ScoreHistory(run).summary("")[f"quality/{FD}"] == {"min": 9.0, "last": 9.0}
