"""What a W&B run says of a training's scores: the best and the last of each, when it was best, and lines beside them.

In: RUN/scores.jsonl and metrics.jsonl, which hold those of all restarts and none of a part that was rolled back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from distgan.metrics.protocol import Scores
from distgan.training.tracking.jsonl import read_metrics


def score_summary(run_dir: Path, best_metric: str) -> dict[str, Any]:
    """Values for the summary: {"quality/NAME": {"min" or "max": best, "last": last}}, best/images and best/seconds.

    best_metric: name of the score that makes a generator the best.
    """
    history = comparable_scores(run_dir)
    if not history:
        return {}
    summary: dict[str, Any] = {
        f"quality/{name}": {extreme(history[-1], name): best_of(history, name).values[name], "last": last}
        for name, last in history[-1].values.items()
    }
    if best_metric in history[-1].values:
        images = best_of(history, best_metric).images_seen
        summary["best/images"] = images
        seconds = {row["images"]: row.get("seconds") for row in read_metrics(run_dir / "metrics.jsonl")}
        if seconds.get(images) is not None:
            summary["best/seconds"] = seconds[images]
    return summary


def curves_beside(run_dir: Path) -> dict[str, float]:
    """For the charts of scores: the floor of other real images, quality_real/NAME, and the best, quality_best/NAME.

    `wandb leet` shows hidden curves too, in the order of the alphabet: these names come after those of the metrics of D.
    """
    history = comparable_scores(run_dir)
    if not history:
        return {}
    best = {f"quality_best/{name}": best_of(history, name).values[name] for name in history[-1].values}
    return best | {f"quality_real/{name}": value for name, value in history[-1].real_values.items()}


def comparable_scores(run_dir: Path) -> list[Scores]:
    """The evaluations by the protocol of the last one, oldest first."""
    history = []
    for row in read_metrics(run_dir / "scores.jsonl"):
        try:
            history.append(Scores.model_validate(row.get("scores")))
        except ValidationError:  # somebody has edited the file
            continue
    return [scores for scores in history if scores.protocol == history[-1].protocol]


def best_of(history: list[Scores], name: str) -> Scores:
    """The first evaluation with the best value of a score."""
    having = [scores for scores in history if name in scores.values]
    choose = min if extreme(history[-1], name) == "min" else max
    return choose(having, key=lambda scores: scores.values[name])


def extreme(scores: Scores, name: str) -> str:
    """min where lower values are better, else max."""
    return "min" if scores.better(name) == "lower" else "max"
