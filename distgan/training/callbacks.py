"""Calls of the user's own code while training runs: `distgan.fit(config, callbacks=[...])`.

In: what has just been done, as a small frozen view. Out: nothing but the wish to stop. A callback has no part in the
random numbers, and what it raises ends training on all ranks at the same step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor

from distgan.distributed.collectives import alone, gather_objects
from distgan.distributed.heartbeat import Heartbeat
from distgan.distributed.stop import StopReason, StopSignal
from distgan.inference.generator import Generator
from distgan.metrics.protocol import Scores
from distgan.training.export import Exporter
from distgan.utils.errors import CallbackError, ConfigError

EVENTS = ("on_step", "on_log", "on_images", "on_checkpoint", "on_evaluation", "on_end")


@dataclass(frozen=True)
class TrainingState:
    """What a callback is shown. It can be kept: later steps do not change it."""

    step: int
    """Steps done: updates of G."""
    images_seen: int
    """Real images that D has been shown, on all ranks."""
    run_dir: Path
    rank: int
    """Number of this process, from 0, the main one."""
    processes: int
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """on_step: of this rank in this step, scalars on the device: `.item()` waits for it. on_log: the line of metrics,
    plain numbers, means over all ranks since the last line. Else empty."""
    images: Tensor | None = None
    """on_images: the generated images of the grid, uint8 [N, channels, H, W], on the main process."""
    checkpoint: Path | None = None
    """on_checkpoint: its directory."""
    scores: Scores | None = None
    """on_evaluation: the scores. on_end: those of the last evaluation."""
    reason: str = ""
    """on_end: why training ended, as in `RunResult.reason`, or the name of a signal."""
    generator: Callable[[], Generator] = field(kw_only=True, repr=False)
    """Call it for a copy of the averaged generator as it is at that moment; it can be sampled and kept."""
    stop: Callable[[], None] = field(kw_only=True, repr=False)
    """Call it to end training: all ranks end at the same step, at most two steps later, with scores and exports."""


class Callback:
    """Your own code in a training. Override what you need; `fit` calls it with a `TrainingState`.

    Only the main process calls it. It may take its time: the others wait, at most train.timeout_minutes. What talks to
    other processes must set `everywhere = True`; then all ranks make all calls but `on_checkpoint`, in the same order.
    An exception ends training on every rank, after all is saved, with a CallbackError; after it no rank makes such a
    call any more.

    >>> import distgan
    >>> class PrintLosses(distgan.Callback):
    ...     def on_log(self, state):
    ...         print(f"{state.images_seen} images, loss of G {state.metrics['loss/g']:.2f}")
    ...         if state.metrics["loss/g"] > 100:
    ...             state.stop()
    """

    everywhere = False
    """Whether all ranks call it, not only the main process."""

    def on_step(self, state: TrainingState) -> None:
        """After every step. `state.metrics` are on the device; reading one makes each step wait for the device."""

    def on_log(self, state: TrainingState) -> None:
        """After every line of metrics (log.every_steps)."""

    def on_images(self, state: TrainingState) -> None:
        """After every grid of samples (log.samples_every_steps)."""

    def on_checkpoint(self, state: TrainingState) -> None:
        """After a checkpoint is complete on disk, on the main process only. It is written in the background, so steps
        may have been done since it was begun."""

    def on_evaluation(self, state: TrainingState) -> None:
        """After every evaluation (evaluate.every_images)."""

    def on_end(self, state: TrainingState) -> None:
        """When training has ended and everything is written, also after a signal; not after an error."""


def check_callbacks(callbacks: Sequence[Callback]) -> tuple[Callback, ...]:
    """The callbacks. Raises ConfigError for what is none."""
    for number, callback in enumerate(callbacks):
        if not isinstance(callback, Callback):
            hint = "; add () to make one of the class" if isinstance(callback, type) else ""
            raise ConfigError(f"callbacks[{number}]={callback!r} is no distgan.Callback: derive a class from it{hint}")
    return tuple(callbacks)


def check_same_callbacks(callbacks: Sequence[Callback]) -> None:
    """Raises ConfigError, on every rank, if they differ in the callbacks that all call. A collective."""
    lists = gather_objects([type(each).__name__ for each in callbacks if each.everywhere])
    for rank, names in enumerate(lists):
        if names != lists[0]:
            here, there = (f"[{', '.join(each)}] on rank {number}" for number, each in ((0, lists[0]), (rank, names)))
            raise ConfigError(f"callbacks with everywhere=True are {here}, {there}; give every rank the same")


class Callbacks:
    """The callbacks of one rank. False where it has none."""

    def __init__(
        self, callbacks: Sequence[Callback], exporter: Exporter, stop: StopSignal, heartbeat: Heartbeat
    ) -> None:
        """A collective. Raises ConfigError."""
        self._exporter, self._stop, self._heartbeat = exporter, stop, heartbeat
        accelerator = exporter.trainer.accelerator
        self._place = {"rank": accelerator.process_index, "processes": accelerator.num_processes}
        check_same_callbacks(callbacks)
        called = [each for each in callbacks if each.everywhere or accelerator.is_main_process]
        self._listeners = {
            event: [each for each in called if getattr(type(each), event) is not getattr(Callback, event)]
            for event in EVENTS
        }
        self._failed = False  # on this rank, or on one that has told this one
        self._failure = ""
        self._error: BaseException | None = None

    def __bool__(self) -> bool:
        return any(self._listeners.values())

    def __call__(self, event: str, **shown: Any) -> None:
        """Calls `event` of each; after a failure none is called any more. shown: fields of `TrainingState`.

        The ranks agree on whether one has failed before each call that all of them make, and after the last: so all
        make the same calls, and a collective in one never meets a collective of training.
        """
        if not self._listeners[event]:
            return
        state, together = self._state(**shown), False
        for callback in self._listeners[event]:
            everywhere = callback.everywhere and event != "on_checkpoint"
            if everywhere:
                together = True
                self.failed()
            if not self._failed:
                with nullcontext() if everywhere else alone():
                    self._call(callback, event, state)
        if together:
            self.failed()

    def failed(self) -> bool:
        """Whether a callback has failed on any rank. A collective."""
        self._failed = self._stop.on_any_rank(self._failed)
        return self._failed

    def check(self, saved: bool) -> None:
        """Raises CallbackError, on every rank, if a callback has failed on one. A collective.

        saved: whether a checkpoint of the last step is on disk.
        """
        if failures := [text for text in gather_objects(self._failure) if text]:
            what = "all steps are saved" if saved else "bad numbers of the last steps are not saved"
            end = f"training has ended, {what} in {self._exporter.config.run_dir}"
            raise CallbackError("; ".join([*failures, end])) from self._error

    def _call(self, callback: Callback, event: str, state: TrainingState) -> None:
        self._heartbeat.set_activity(f"runs {type(callback).__name__}.{event}")
        try:
            getattr(callback, event)(state)
        except BaseException as error:  # also SystemExit: the other ranks must not wait for this one
            self._fail(callback, event, error)
        self._heartbeat.set_activity("trains")

    def _fail(self, callback: Callback, event: str, error: BaseException) -> None:
        trainer, self._error, self._failed = self._exporter.trainer, error, True
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        who = f"{type(callback).__name__}.{event}"
        self._failure = f"{who} failed on rank {self._place['rank']} at step {trainer.steps}: {what}"
        self._stop.request(StopReason.FAILED)

    def _state(self, **shown: Any) -> TrainingState:
        trainer = self._exporter.trainer
        if "metrics" in shown:
            shown["metrics"] = MappingProxyType(dict(shown["metrics"]))
        return TrainingState(
            step=trainer.steps,
            images_seen=trainer.images_seen,
            run_dir=self._exporter.config.run_dir,
            **self._place,
            **shown,
            generator=self._exporter.copy_of_generator,
            stop=lambda: self._stop.request(StopReason.REQUESTED),
        )
