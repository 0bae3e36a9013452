"""Evaluations while training goes on: scores of the averaged generator, and RUN/best.safetensors.

In: the generator as it is now, on every rank. Out: its scores, the same on every rank, in scores.jsonl and in a
sentence. `EarlyStopping` decides which is the best, the loop when to evaluate.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from distgan.config.schema import DataConfig, EvaluateConfig
from distgan.distributed.collectives import on_main
from distgan.inference.sampling import BEST
from distgan.metrics.evaluator import Evaluator
from distgan.metrics.flattery import warn_of_flattery
from distgan.metrics.protocol import Scores
from distgan.training.early_stopping import EarlyStopping
from distgan.training.export import Exporter
from distgan.training.telemetry import Telemetry
from distgan.utils.errors import DistganError

BETWEEN_UPLOADS = 600.0  # between two uploads of the best generator


def open_evaluator(
    config: EvaluateConfig, data: DataConfig, exporter: Exporter, best: EarlyStopping
) -> Evaluator | None:
    """The evaluator, once it has seen the real images; None where nothing is evaluated.

    Every rank calls it together. Raises QualityError, DataError or ConfigError for what can be known before training.
    """
    if config.every_images is None:
        return None
    accelerator = exporter.trainer.accelerator
    evaluator = Evaluator(config, data, accelerator.device, accelerator.is_main_process)
    generator = exporter.generator()
    best.check(evaluator.names(generator))
    warn_of_flattery(generator.description.config, config.extractor)
    evaluator.prepare()
    return evaluator


@dataclass
class OnlineEvaluation:
    """The evaluations of one training. Every rank has one."""

    evaluator: Evaluator
    exporter: Exporter
    best: EarlyStopping
    telemetry: Telemetry
    _next_upload: float = field(default=-math.inf, init=False)
    """Of best.safetensors, `time.monotonic`; the last one is uploaded at the end."""

    def __call__(self, step: int) -> dict[str, float]:
        """Evaluates after a step and writes the scores, and best.safetensors if they are the best. A collective.

        Returns the values as metrics: {"quality/NAME": value}. A file that cannot be written is only reported.
        """
        scores = self.evaluator.evaluate(self.exporter.generator())
        is_best = self.best.update(step, scores)
        self.telemetry.tracker.scores(self.telemetry.images_seen(), scores.model_dump(mode="json"))
        self.telemetry.say(self._sentence(scores, is_best))
        if is_best:
            self.telemetry.note("best", f"{self.best.metric} {self.best.described()}, the best so far", alert=True)
            self._keep(scores)
        return {f"quality/{name}": value for name, value in scores.values.items()}

    def _keep(self, scores: Scores) -> None:
        try:
            exported = on_main(lambda: self.exporter.write(BEST, scores))
        except DistganError as error:
            self.telemetry.warn("export", f"{error}; training goes on, the best state is in its checkpoint")
            return
        if time.monotonic() >= self._next_upload:
            self._next_upload = time.monotonic() + BETWEEN_UPLOADS
            self.telemetry.tracker.artifact(exported.path, exported.metadata, "best")

    def _sentence(self, scores: Scores, is_best: bool) -> str:
        mark = " (best so far)" if is_best else f" (best: {self.best.described()})"
        names = sorted(scores.values, key=lambda name: name != self.best.metric)  # that one first
        shown = [f"{name} {scores.values[name]:.4g}{mark if name == self.best.metric else ''}" for name in names]
        return f"quality at {scores.images_seen:,} images: {', '.join(shown)}"
