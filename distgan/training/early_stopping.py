"""The best evaluation of a run, and an end of training when nothing better comes.

In: `Scores`, one evaluation after the other. Out: whether they are the best. The memory is plain values, so that it
goes into every checkpoint, and it is the same on every rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, NonNegativeInt, ValidationError, model_validator

from distgan.config.messages import first_mistake
from distgan.config.schema import BestConfig, EvaluateConfig
from distgan.metrics.protocol import Scores
from distgan.metrics.registry import PAPER_NAMES, full_name
from distgan.utils.errors import CheckpointError, ConfigError
from distgan.utils.safe_io import printable


class Top(BaseModel):
    """The best evaluation."""

    metric: str
    """Name of the value that makes it the best."""
    step: NonNegativeInt
    scores: Scores

    @model_validator(mode="after")
    def _has_its_value(self) -> Top:
        if self.metric not in self.scores.values:
            raise ValueError("it has no value of its metric")
        return self

    @property
    def value(self) -> float:
        return self.scores.values[self.metric]


class BestState(BaseModel):
    """State of early stopping; in every checkpoint."""

    top: Top | None = None
    last: Scores | None = None
    """Scores of the last evaluation."""
    without: NonNegativeInt = 0
    """Evaluations in a row that were not better than the best."""


class EarlyStopping:
    """Keeps the best evaluation and counts those without a better one. Attribute: metric, name of the value."""

    def __init__(self, config: BestConfig, evaluate: EvaluateConfig) -> None:
        self.every, self.patience = evaluate.every_images, config.patience
        usual = "shapes_recognised" if evaluate.extractor == "none" else full_name("fd", evaluate.extractor)
        self.metric = config.metric or usual
        self.memory = BestState()

    def restore(self, values: Mapping[str, Any]) -> None:
        """Takes the memory of a checkpoint's values. Raises CheckpointError if it is damaged."""
        try:
            self.memory = BestState.model_validate(values.get("best", {}))  # checkpoints of 0.1.0 do not have it
        except ValidationError as error:
            raise CheckpointError(f"the checkpoint is damaged: {first_mistake(error, 'best')}") from None

    def check(self, names: Iterable[str]) -> None:
        """Raises ConfigError if the metric is none of `names`, the values of an evaluation."""
        if self.metric not in (names := list(names)):
            alike = {
                paper: name for name in names for value, paper in PAPER_NAMES.items() if name.startswith(f"{value}_")
            }
            nearest = alike.get(self.metric) or get_close_matches(self.metric, names, n=1, cutoff=0)[0]
            raise ConfigError(
                f"best.metric={printable(self.metric)} is no score that this training is given; nearest: {nearest} "
                f"(there are {', '.join(names)})"
            )

    def due(self, images: int, last: bool) -> bool:
        """True when an evaluation is due: after every `every_images` images, and at the last step.

        images: real images that D has been shown.
        """
        if self.every is None:
            return False
        before = self.memory.last.images_seen if self.memory.last else 0
        return images // self.every > before // self.every or (last and images > before)

    def update(self, step: int, scores: Scores) -> bool:
        """Remembers the scores after a step. Returns whether they are the best so far.

        Scores by another protocol or another metric cannot be compared and are forgotten: the new ones are the best
        then. Scores without a value of the metric (it was NaN) are never the best.
        """
        memory = self.memory
        top = Top(metric=self.metric, step=step, scores=scores) if self.metric in scores.values else None
        if top is None or (memory.top is not None and not _is_better(top, memory.top)):
            self.memory = BestState(top=memory.top, last=scores, without=memory.without + 1)
            return False
        self.memory = BestState(top=top, last=scores)
        return True

    @property
    def step(self) -> int | None:
        """Step of the best evaluation."""
        return self.memory.top.step if self.memory.top else None

    @property
    def exhausted(self) -> bool:
        """True when the patience is used up."""
        top = self.memory.top
        if self.every is None or self.patience is None or (top is not None and top.metric != self.metric):
            return False
        return self.memory.without >= self.patience

    def scores_of(self, images: int) -> Scores | None:
        """Scores of the generator after `images`, if that was the last evaluation."""
        last = self.memory.last
        return last if last is not None and last.images_seen == images else None

    def described(self) -> str:
        """The best value and its time, for a sentence."""
        top = self.memory.top
        return f"{top.value:.4g} at {top.scores.images_seen:,} images" if top else "none yet"


def _is_better(one: Top, other: Top) -> bool:
    if one.metric != other.metric or one.scores.protocol != other.scores.protocol:
        return True
    if one.scores.further.get(one.metric) != other.scores.further.get(one.metric):
        return True  # with other options it is another score
    return one.value < other.value if one.scores.better(one.metric) == "lower" else one.value > other.value
