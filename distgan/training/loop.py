"""The training loop: steps, and after each what is planned for it. It decides when, not how."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from distgan.config.schema import Config
from distgan.data.dataset import ImageDataset
from distgan.distributed.collectives import on_main
from distgan.distributed.heartbeat import Heartbeat
from distgan.distributed.stop import StopReason, StopSignal
from distgan.training.callbacks import Callbacks
from distgan.training.checkpoint.manager import CheckpointManager
from distgan.training.consistency import ConsistencyCheck
from distgan.training.evaluation import OnlineEvaluation
from distgan.training.meters import BatchTimer, RunningMeans, Speed, StepTimer, Stopwatch, Work, memory
from distgan.training.samples import SampleGrid
from distgan.training.telemetry import Telemetry
from distgan.training.trainer import Trainer
from distgan.training.watchdog import WEIGHT_NORMS, Finding
from distgan.utils.errors import Halted, Stalled

HURRIED_SECONDS = 20.0  # that one of several processes waits for images after a signal
SKIPPED = "data/skipped"
BEFORE_THE_OTHERS = 0.8  # of their patience, so that a rank without images says so before they miss it


class Intervals(NamedTuple):
    """Steps between the things that are done now and then."""

    total: int
    """Steps of the training from its start to its end."""
    log: int
    samples: int
    checkpoint: int
    consistency: int | None
    """None: the ranks are never compared."""
    seconds: float
    """Time limit, train.seconds; infinite where there is none."""
    patience: float
    """Seconds to wait for images or for other processes."""
    from_another: bool = False
    """The networks began with another run's weights (init.from), so that even the first samples are judged."""

    @classmethod
    def of(cls, config: Config) -> Intervals:
        log = config.log
        return cls(
            config.total_steps, log.every_steps, log.samples_every_steps, config.checkpoint.every_steps,
            config.guard.every_steps, config.train.seconds or math.inf, 60 * config.train.timeout_minutes,
            config.init.from_ is not None,
        )  # fmt: skip

    def early(self, step: int) -> bool:
        """Whether samples are drawn after this step because training has just begun: at 1/64, 1/32 ... 1/2 of the
        first interval."""
        return step in {self.samples >> shift for shift in range(1, 7)}


@dataclass(frozen=True)
class Plan:
    """Everything that is done after one step."""

    last: bool
    """The budget or the time is used up."""
    urgent: bool
    """There may be little time: nothing is drawn or evaluated."""
    evaluate: bool
    log: bool
    samples: bool
    judge_samples: bool
    """The watchdog judges the samples: not the early ones, which are no images yet."""
    checkpoint: bool
    compare_ranks: bool

    @classmethod
    def after(cls, step: int, intervals: Intervals, reason: StopReason, evaluation_due: bool) -> Plan:
        """step: just done; reason: to stop; evaluation_due: whether the images seen ask for an evaluation.

        Scores stand in a line of metrics. After a signal only the state is saved: the next start does what was due. A
        state that may be the best, or is saved, is compared over the ranks first.
        """
        urgent = reason.urgent
        last = not urgent and (reason.early or step == intervals.total)
        evaluate, ending = evaluation_due and not urgent, last or urgent
        checkpoint = ending or step % intervals.checkpoint == 0
        every, regular = intervals.consistency, last or step % intervals.samples == 0
        return cls(
            last=last,
            urgent=urgent,
            evaluate=evaluate,
            log=not urgent and (last or evaluate or step % intervals.log == 0),
            samples=not urgent and (regular or intervals.early(step)),
            judge_samples=not urgent and regular,
            checkpoint=checkpoint,
            compare_ranks=every is not None and (checkpoint or evaluate or step % every == 0),
        )

    @property
    def ending(self) -> bool:
        return self.last or self.urgent


class Outcome(NamedTuple):
    """The end of a training."""

    reason: StopReason
    """NONE: the budget or the patience is used up."""
    saved: bool
    """A checkpoint of the last step is on disk; false if its weights are NaN or infinite."""


class Peers(NamedTuple):
    """The parts that keep this rank in step with the others."""

    stop: StopSignal
    heartbeat: Heartbeat
    consistency: ConsistencyCheck


@dataclass
class TrainingLoop:
    """One training on this rank."""

    intervals: Intervals
    trainer: Trainer
    reals: ImageDataset
    telemetry: Telemetry
    checkpoints: CheckpointManager
    evaluation: OnlineEvaluation | None
    """None where nothing is evaluated."""
    samples: SampleGrid
    peers: Peers
    callbacks: Callbacks
    work: Work
    """Of a step, for its speed."""

    def __post_init__(self) -> None:
        self.stop, self.heartbeat, self.consistency = self.peers
        self.monitors = self.checkpoints.monitors
        self.watchdog, self.early_stopping = self.monitors.watchdog, self.monitors.early_stopping
        self.watch = Stopwatch()  # for the speed and train.seconds; evaluations are left out
        self.earlier_seconds = self.monitors.seconds
        self.step_timer = StepTimer(self.trainer.accelerator.device)
        self.healthy = True  # the weights were finite when they were last measured
        self.saved = False  # the last step is in a checkpoint
        self._open_batches()

    def run(self) -> Outcome:
        """Trains to the budget, to the end of the patience, or to the step at which all ranks agree to stop.

        Raises CheckpointError if the last checkpoint could not be written, Disagreement if the ranks are out of step,
        Halted if bad numbers end training.
        """
        trainer, reason = self.trainer, StopReason.NONE
        self.saved = not self._goes_on()  # a training that was over when it was loaded
        self.telemetry.display.start(trainer.images_seen)
        self.watch = Stopwatch()
        self._begin()
        if not trainer.steps and not self.saved:
            with self.watch.left_out():  # from the speed of the first steps
                self._draw_samples(self.intervals.from_another)
        try:
            if self.monitors.interrupted:
                reason = self._after_step(reason)
            while not reason and self._goes_on():
                reason = self._step()
                self.telemetry.display.step(trainer.images_seen)
        except Stalled as error:
            reason = self._save_without_images(error)
        finally:
            self.batches.close()
        self.checkpoints.finish()
        return Outcome(reason, self.saved)

    def _step(self) -> StopReason:
        """One step and what is due after it. Returns the reason to end training. Raises Stalled before the step."""
        trainer = self.trainer
        batches = list(islice(self.batches, trainer.settings.d_steps))
        with self.step_timer.step():
            metrics = trainer.step(iter(batches))
        self.monitors.seconds = self.earlier_seconds + self.watch.seconds
        self.monitors.means.add(metrics)
        self.heartbeat.step = trainer.steps
        if self.callbacks:
            self.callbacks("on_step", metrics=metrics)
        for text in trainer.controllers.take_reports():
            self.telemetry.say(text)
        if self.watch.seconds >= self.intervals.seconds:
            self.stop.request(StopReason.TIME_LIMIT)
        return self._after_step(self.stop.agreed())

    def _goes_on(self) -> bool:
        return self.trainer.steps < self.intervals.total and not self.early_stopping.exhausted

    def _begin(self) -> None:
        """Starts from the trainer's counters: at first, and after a rollback."""
        self.batches.close()
        self._open_batches()

    def _open_batches(self) -> None:
        batches = self.reals.batches(self.trainer.d.updates, self._gives_up)
        self.batches = BatchTimer(batches, self.heartbeat.set_activity)
        self.speed = Speed(self.watch, self.batches, self.step_timer, self.trainer.images_seen, self.work)

    def _gives_up(self, seconds: float) -> bool:
        """Whether to wait no longer for a batch. seconds: waited for it so far."""
        alone = self.trainer.accelerator.num_processes == 1
        if self.stop.hurried:
            return alone or seconds > HURRIED_SECONDS
        return seconds > self.intervals.patience * (1 if alone else BEFORE_THE_OTHERS)

    def _save_without_images(self, error: Stalled) -> StopReason:
        """Saves the last step. Returns the reason to stop; raises `error` where there is none but this.

        Of several processes none can save alone: the others are within the next step.
        """
        reason, trainer = self.stop.received, self.trainer
        if trainer.accelerator.num_processes > 1 or not (trainer.steps or reason.urgent):
            raise error
        self._measure(False)
        end = reason if reason.urgent else StopReason.TIME_LIMIT
        self._save(Plan.after(trainer.steps, self.intervals, end, False), reason, self.healthy)
        if reason.urgent:
            return reason
        self.checkpoints.finish()
        done = f"; all {trainer.images_seen:,} images are saved, the same command goes on" if self.saved else ""
        raise Stalled(f"{error}{done}")

    def _after_step(self, reason: StopReason) -> StopReason:
        """Does what is planned. Returns the reason to end training; none after a rollback."""
        trainer, stopping = self.trainer, self.early_stopping
        due = stopping.due(trainer.images_seen, reason.early or trainer.steps == self.intervals.total)
        plan = Plan.after(trainer.steps, self.intervals, reason, due)
        if plan.compare_ranks or self.consistency.suspicions:
            self.consistency.check(trainer)
        if (plan.log or plan.samples or plan.checkpoint) and (text := on_main(self.telemetry.keep_directory)):
            self.telemetry.warn("directory", text)
        findings = self._draw_samples(plan.judge_samples) if plan.samples else []
        metrics, found = self._measure(plan.log) if plan.log or plan.checkpoint else ({}, [])
        findings += found
        if plan.evaluate and self.healthy and not self.watchdog.worst(findings):
            metrics |= self._evaluate()
            if stopping.exhausted and not plan.samples:
                findings += self._draw_samples(True)
        fatal = self.watchdog.worst(findings)
        if plan.log:
            self._log(metrics)
        self.monitors.interrupted = plan.urgent
        self._save(plan, reason, self.healthy and not fatal)
        self._report(findings, None if plan.urgent else fatal)
        if fatal and not plan.urgent:
            self._recover(fatal)
            return StopReason.NONE
        return reason

    def _draw_samples(self, judged: bool) -> list[Finding]:
        """Draws a grid. Returns what the watchdog finds in it, if it is to be judged."""
        diversity, logit = self.samples.draw(self.trainer, self.early_stopping.memory.last)
        self.monitors.diversity, self.monitors.samples_logit = diversity, logit
        self.callbacks("on_images", images=self.samples.images)
        return self.watchdog.check_samples(self.trainer.steps, diversity) if judged else []

    def _measure(self, line: bool) -> tuple[dict[str, float], list[Finding]]:
        """Metrics over all ranks, and what the watchdog finds in them.

        line: means since the last line of metrics; else the norms of the weights only.
        """
        trainer = self.trainer
        means = self.monitors.means if line else RunningMeans()
        means.add(trainer.weight_norms() | (trainer.spectral_norms() if line else {}) | {SKIPPED: self._skipped()})
        metrics = means.reduce()  # over all ranks: a fault of one is a fault for all
        self.healthy = all(math.isfinite(metrics[name]) for name in WEIGHT_NORMS)
        return metrics, (self.watchdog.check if line else self.watchdog.check_weights)(trainer.steps, metrics)

    def _skipped(self) -> Tensor:
        """Bad images so far; the mean over the ranks is their number, also where each rank has its own (streaming)."""
        ranks = self.trainer.accelerator.num_processes if self.reals.mode == "stream" else 1
        return torch.tensor(float(self.reals.skipped * ranks), device=self.trainer.accelerator.device)

    def _evaluate(self) -> dict[str, float]:
        if self.evaluation is None:
            return {}
        self.heartbeat.set_activity("evaluates")
        with self.watch.left_out():
            metrics = self.evaluation(self.trainer.steps)
        self.callbacks("on_evaluation", scores=self.early_stopping.memory.last)
        return metrics

    def _log(self, metrics: dict[str, float]) -> None:
        """Writes a line of metrics."""
        trainer = self.trainer
        metrics |= self.speed.window(trainer.images_seen) | trainer.line_metrics() | memory(trainer.accelerator.device)
        metrics |= {"epoch": self.reals.epoch(trainer.d.updates), "seconds": self.monitors.seconds}
        if self.monitors.diversity is not None:
            metrics["watchdog/diversity"] = self.monitors.diversity
        if self.monitors.samples_logit is not None:
            metrics["d/samples_logit"] = self.monitors.samples_logit
        if self.watchdog.memory.rollbacks:
            metrics["watchdog/rollbacks"] = self.watchdog.memory.rollbacks
        if not metrics.get(SKIPPED):
            metrics.pop(SKIPPED, None)  # no curve of zeros
        self.telemetry.line(metrics)
        self.callbacks("on_log", metrics=metrics)

    def _save(self, plan: Plan, reason: StopReason, sound: bool) -> None:
        """Saves where the plan, the end or a new best asks for it, and the state is sound."""
        over = plan.ending or self.early_stopping.exhausted
        is_best = self.early_stopping.step == self.trainer.steps
        self.saved = (plan.checkpoint or over or is_best) and sound and reason != StopReason.RULE
        if self.saved and over:
            self.checkpoints.save_last(give_up=lambda: plan.urgent or self.stop.hurried)
        elif self.saved:
            self.checkpoints.save(wait=is_best)
        if self.checkpoints.poll():
            self.stop.request(StopReason.RULE)
        for path in self.checkpoints.writer.take_written():
            self.callbacks("on_checkpoint", checkpoint=path)

    def _report(self, findings: list[Finding], fatal: Finding | None) -> None:
        """Reports findings, but for the one that training does not go on from: `_recover` reports that."""
        for finding in findings:
            if finding is not fatal and (reaction := self.watchdog.reaction(finding)) != "off":
                text = f"step {self.trainer.steps}: {finding.text}"
                self.telemetry.warn(finding.fault, text, alert=reaction != "warn")

    def _recover(self, fault: Finding) -> None:
        """Ends training or goes back to a checkpoint, as configured for a fault; the same on every rank."""
        text, limit = f"step {self.trainer.steps}: {fault.text}", self.watchdog.config.max_rollbacks
        if self.watchdog.reaction(fault) == "stop":
            raise Halted(f"{text}; watchdog.{fault.fault}=stop ends training here")
        if self.watchdog.memory.rollbacks >= limit:
            raise Halted(f"{text}; after {limit} rollback(s) training ends here (watchdog.max_rollbacks)")
        place = self.checkpoints.go_back(fault.healthy_step)
        self.healthy = True
        self.telemetry.tracker.rewind(self.trainer.images_seen)
        self._begin()
        self.telemetry.warn(
            fault.fault,
            f"{text}; back to {place} with {self.trainer.lr_scale:g} times the learning rates (rollback "
            f"{self.watchdog.memory.rollbacks} of at most {limit})",
        )
