"""What a W&B run says of a training's scores: the best and the last of each, when it was best, and lines beside them.

In: RUN/scores.jsonl and metrics.jsonl, once, and then every evaluation. Nothing is read again while training goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from distgan.metrics.protocol import Scores
from distgan.training.tracking.jsonl import read_metrics


class ScoreHistory:
    """The evaluations of a run over all its starts, oldest first."""

    def __init__(self, run_dir: Path) -> None:
        self._evaluations: list[Scores] = []
        self._seconds: dict[int, float] = {}  # of training, by images seen
        for row in read_metrics(run_dir / "scores.jsonl"):
            self.add(row.get("scores"))
        evaluated = {scores.images_seen for scores in self._evaluations}
        for row in read_metrics(run_dir / "metrics.jsonl") if evaluated else []:
            if row["images"] in evaluated and "seconds" in row:
                self._seconds[row["images"]] = row["seconds"]

    def add(self, scores: Any) -> None:
        """scores: plain values of `Scores`; others, in a file that somebody has edited, are left out."""
        try:
            self._evaluations.append(Scores.model_validate(scores))
        except ValidationError:
            return

    def note_time(self, images: int, seconds: float) -> None:
        """seconds: of training, to the evaluation after so many images."""
        self._seconds[images] = seconds

    def rewind(self, images: int) -> None:
        """Forgets the evaluations after `images`: that part is trained again."""
        self._evaluations = [scores for scores in self._evaluations if scores.images_seen <= images]

    def summary(self, best_metric: str) -> dict[str, Any]:
        """{"quality/NAME": {"min" or "max": best, "last": last}}, and best/score, best/images, best/seconds.

        best_metric: name of the score that makes a generator the best.
        """
        history = self._comparable()
        if not history:
            return {}
        summary: dict[str, Any] = {
            f"quality/{name}": {extreme(history[-1], name): best_of(history, name).values[name], "last": last}
            for name, last in history[-1].values.items()
        }
        if best_metric in history[-1].values:
            best = best_of(history, best_metric)
            summary |= {"best/score": best.values[best_metric], "best/images": best.images_seen}
            if best.images_seen in self._seconds:
                summary["best/seconds"] = self._seconds[best.images_seen]
        return summary

    def curves(self) -> dict[str, float]:
        """For the charts of scores: the floor of other real images, quality_real/NAME, and the best, quality_best/NAME.

        `wandb leet` shows hidden curves too, by the alphabet: these names come after those of D's metrics.
        """
        history = self._comparable()
        if not history:
            return {}
        best = {f"quality_best/{name}": best_of(history, name).values[name] for name in history[-1].values}
        return best | {f"quality_real/{name}": value for name, value in history[-1].real_values.items()}

    def _comparable(self) -> list[Scores]:
        """The evaluations by the protocol of the last one."""
        return [scores for scores in self._evaluations if scores.protocol == self._evaluations[-1].protocol]


def best_of(history: list[Scores], name: str) -> Scores:
    """The first evaluation with the best value of a score."""
    having = [scores for scores in history if name in scores.values]
    choose = min if extreme(history[-1], name) == "min" else max
    return choose(having, key=lambda scores: scores.values[name])


def extreme(scores: Scores, name: str) -> str:
    """min where lower values are better, else max."""
    return "min" if scores.better(name) == "lower" else "max"
