"""Evaluations while training goes on: what the averaged generator is worth, and RUN/best.safetensors.

In: the generator as it is now, on every rank. Out: its scores, the same on every rank, in scores.jsonl and in a
sentence. `best` decides what is the best, `fit` when to look.
"""

from __future__ import annotations

from dataclasses import dataclass

from distgan.config.schema import Config
from distgan.distributed.collectives import on_main
from distgan.metrics.evaluator import Evaluator
from distgan.metrics.protocol import Scores
from distgan.training.early_stopping import EarlyStopping
from distgan.training.events import Reporter
from distgan.training.export import BEST, Exporter
from distgan.utils.errors import DistganError


def open_evaluator(config: Config, exporter: Exporter, best: EarlyStopping) -> Evaluator | None:
    """What the evaluations are made with, once it has looked at the real images; None where there are to be none.

    Every rank calls it together. Raises QualityError, DataError or ConfigError for what can be known before training.
    """
    if config.evaluate.every_images is None:
        return None
    accelerator = exporter.trainer.accelerator
    evaluator = Evaluator(config.evaluate, config.data, accelerator.device, accelerator.is_main_process)
    best.check(evaluator.names(exporter.generator()))
    evaluator.prepare()
    return evaluator


@dataclass(frozen=True)
class OnlineEvaluation:
    """One training's evaluations. Every rank has one."""

    evaluator: Evaluator
    exporter: Exporter
    best: EarlyStopping
    report: Reporter

    def __call__(self) -> dict[str, float]:
        """Evaluates, remembers, and writes; best.safetensors, too, if there is no better. Every rank calls it together.

        Returns the values as metrics: {"quality/NAME": value}. What cannot be written is reported, no more.
        """
        trainer, tracker = self.report.trainer, self.report.tracker
        scores = self.evaluator.evaluate(self.exporter.generator())
        is_best = self.best.look(trainer.steps, scores)
        tracker.scores(trainer.images_seen, scores.model_dump(mode="json"))
        self.report.display.say(self._sentence(scores, is_best))
        if is_best:
            self._keep(scores)
        return {f"quality/{name}": value for name, value in scores.values.items()}

    def _keep(self, scores: Scores) -> None:
        try:
            on_main(lambda: self.exporter.write(BEST, scores))
        except DistganError as error:
            self.report("export", f"{error}; training goes on, the best state is in its checkpoint")

    def _sentence(self, scores: Scores, is_best: bool) -> str:
        mark = " (best so far)" if is_best else f" (best: {self.best.described()})"
        names = sorted(scores.values, key=lambda name: name != self.best.metric)  # that one first
        shown = [f"{name} {scores.values[name]:.4g}{mark if name == self.best.metric else ''}" for name in names]
        return f"quality at {scores.images_seen:,} images: {', '.join(shown)}"
