"""The loop around `Trainer.step`: logs, samples, scores, checkpoints, balance, health, stopping.

It decides when, not how.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from distgan.config.schema import Config
from distgan.data.dataset import ImageDataset
from distgan.distributed.collectives import on_main
from distgan.distributed.heartbeat import Heartbeat
from distgan.distributed.stop import RULE, TIME, StopSignal
from distgan.inference.generator import Generator
from distgan.training import balance
from distgan.training.checkpoint.manager import CheckpointManager
from distgan.training.clock import Clock, Stopwatch, Waiting, memory
from distgan.training.consistency import ConsistencyCheck
from distgan.training.evaluation import OnlineEvaluation
from distgan.training.events import Reporter
from distgan.training.tracking.progress_bar import ProgressBar
from distgan.training.tracking.tracker import NullTracker, RunningMeans, Tracker
from distgan.training.trainer import Trainer
from distgan.training.watchdog import WEIGHT_NORMS, Finding, Watchdog, diversity, gravest, reaction
from distgan.utils.errors import Halted

DIVERSITY_SAMPLES = 64  # images that the diversity is measured on


class Due(NamedTuple):
    """What is to be done after a step."""

    log: bool
    samples: bool
    scores: bool
    checkpoint: bool
    guard: bool

    @classmethod
    def after(cls, config: Config, step: int, scores: bool, last: bool, stopping: bool) -> Due:
        """scores: whether the images seen ask for them; last: of the training; stopping: there may be little time, so
        nothing is drawn. Scores stand in a line of metrics; what may be the best, and saved, is checked first."""
        scores, ending = scores and not stopping, last or stopping
        checkpoint = ending or step % config.checkpoint.every_steps == 0
        every = config.guard.every_steps
        return cls(
            log=ending or scores or step % config.log.every_steps == 0,
            samples=not stopping and (last or step % config.log.samples_every_steps == 0),
            scores=scores,
            checkpoint=checkpoint,
            guard=every is not None and (checkpoint or scores or step % every == 0),
        )


@dataclass
class TrainingLoop:
    """One training run on this rank."""

    trainer: Trainer
    reals: ImageDataset
    tracker: Tracker | NullTracker
    display: ProgressBar
    report: Reporter
    keeper: CheckpointManager
    watchdog: Watchdog
    scoring: OnlineEvaluation | None
    """None: nothing is evaluated."""
    preview: Tensor
    """Real images for the sample grids: uint8 [N, 3, H, W]; on the main process."""
    sampler: Generator
    """The averaged generator: grids show seeds 0, 1, 2, ..., as `distgan sample --seeds 0-N` will."""
    stop: StopSignal
    heartbeat: Heartbeat
    watch: Stopwatch = field(init=False)
    """For the speed and train.seconds. Evaluations are left out; all else counts, from the first step on."""
    guard: ConsistencyCheck = field(init=False)
    healthy: bool = True
    """Whether the weights were finite when they were last looked at."""
    saved: bool = False
    """Whether the last step is in a checkpoint."""
    diversity: float | None = None
    """Of the last samples."""
    actions: int = 0
    """Net actions of the balance since the last line of metrics."""

    def run(self) -> int:
        """Trains to the budget, to the end of the patience, or to the end of the step in which all ranks agree to stop;
        returns that reason or 0.

        A checkpoint of the last step is on disk when it returns, if its weights are finite. Raises CheckpointError if
        it could not be written, Disagreement if the ranks are out of step, Halted if bad numbers end training.
        """
        trainer, reason = self.trainer, 0
        enough = self.reals.images >= 2 * trainer.config.train.batch_size  # else ranks may rightly see the same
        self.guard = ConsistencyCheck(trainer.accelerator, images=enough)
        self.display.start(trainer.images_seen)
        self.watch = Stopwatch()
        self._begin()
        while trainer.steps < trainer.config.total_steps and not reason and not self.keeper.best.exhausted:
            metrics = trainer.step(self.batches)
            self.means.add(metrics)
            self._report_action(trainer.rebalance(metrics))
            self.heartbeat.step = trainer.steps
            if self.watch.seconds >= (trainer.config.train.seconds or math.inf):
                self.stop.request(TIME)
            reason = self._after_step(self.stop.agreed())
            self.display.step(trainer.images_seen)
        self.keeper.finish()
        return reason

    def _begin(self) -> None:
        """From the trainer's counters on: at the start, and after a rollback."""
        self.batches = Waiting(self.reals.batches(self.trainer.d.updates), self.heartbeat.does)
        self.diversity, self.actions = None, 0
        self.means, self.clock = RunningMeans(), Clock(self.watch, self.batches, self.trainer.images_seen)

    def _after_step(self, reason: int) -> int:
        """Returns the reason to end training; not after a rollback."""
        trainer, best, stopping = self.trainer, self.keeper.best, reason not in (0, TIME)
        last = not stopping and (reason == TIME or trainer.steps == trainer.config.total_steps)
        scores = best.due(trainer.images_seen, last)
        due, found = Due.after(trainer.config, trainer.steps, scores, last, stopping), list[Finding]()
        if due.guard or self.guard.suspicions:
            self.guard.check(trainer)
        if due.samples:
            found += self._samples()
        metrics = dict[str, float]()
        if due.log or due.checkpoint:
            metrics = self._look(due.log, found)
        fatal = gravest(trainer.config.watchdog, found)
        sound = self.healthy and not fatal
        if self.scoring and due.scores and sound:
            self.heartbeat.does("evaluates")
            with self.watch.left_out():
                metrics |= self.scoring()
            if best.exhausted and not due.samples:
                found += self._samples()
        if due.log:
            self._log(metrics)
        over, is_best = last or stopping or best.exhausted, best.step == trainer.steps
        self.saved = (due.checkpoint or over or is_best) and sound and reason != RULE
        if self.saved and over:
            self.keeper.save_last(give_up=lambda: stopping or self.stop.hurried)
        elif self.saved:
            self.keeper.save(wait=is_best)
        if self.keeper.poll():
            self.stop.request(RULE)
        for finding in found:
            if (stopping or finding is not fatal) and (how := reaction(trainer.config.watchdog, finding)) != "off":
                self.report(finding.fault, f"step {trainer.steps}: {finding.text}", alert=how != "warn")
        if fatal is not None and not stopping:
            self._leave(fatal)
            return 0
        return reason

    def _look(self, log: bool, found: list[Finding]) -> dict[str, float]:
        """At the weights and, where a line of metrics is due, at the means since the last; adds to what is found."""
        trainer = self.trainer
        means = self.means if log else RunningMeans()
        means.add(trainer.weight_norms() | {"data/skipped": self._skipped()})
        metrics = means.reduce()  # over all ranks: what one of them has, all of them see
        self.healthy = all(math.isfinite(metrics[name]) for name in WEIGHT_NORMS)
        found += (self.watchdog.look if log else self.watchdog.look_at_weights)(trainer.steps, metrics)
        return metrics

    def _skipped(self) -> Tensor:
        """Bad images so far; in stream mode each rank has its own, whose mean over the ranks times their number is
        the sum."""
        ranks = self.trainer.accelerator.num_processes if self.reals.mode == "stream" else 1
        return torch.tensor(float(self.reals.skipped * ranks), device=self.trainer.accelerator.device)

    def _leave(self, fault: Finding) -> None:
        """Ends training, or goes back, as the configuration says about a fault; the same on every rank."""
        trainer, text = self.trainer, f"step {self.trainer.steps}: {fault.text}"
        if reaction(trainer.config.watchdog, fault) == "stop":
            raise Halted(f"{text}; watchdog.{fault.fault}=stop ends training here")
        limit = trainer.config.watchdog.max_rollbacks
        if self.watchdog.memory.rollbacks >= limit:
            raise Halted(f"{text}; after {limit} rollback(s) training ends here (watchdog.max_rollbacks)")
        place = self.keeper.go_back(fault.healthy_step)
        self.healthy = True
        self.tracker.rewind(trainer.images_seen)
        self._begin()
        self.report(
            fault.fault,
            f"{text}; back to {place} with {trainer.lr_scale:g} times the learning rates (rollback "
            f"{self.watchdog.memory.rollbacks} of at most {limit})",
        )

    def _log(self, metrics: dict[str, float]) -> None:
        trainer = self.trainer
        metrics |= self.clock.window(trainer.images_seen)
        metrics |= {
            "step": trainer.steps,
            "epoch": self.reals.epoch(trainer.d.updates),
            "lr/d": trainer.d_lr,
            "lr/g": trainer.g_lr,
            "balance/lr_scale": balance.lr_scale(trainer.config.balance, trainer.balance_level),
            "balance/dropout": trainer.d_dropout,
            "balance/action": self.actions,
            "watchdog/rollbacks": self.watchdog.memory.rollbacks,
            **memory(trainer.accelerator.device),
        }
        if self.diversity is not None:
            metrics["watchdog/diversity"] = self.diversity
        if trainer.g.scaler.is_enabled():
            metrics |= {
                "precision/scale_d": trainer.d.scaler.get_scale(),
                "precision/scale_g": trainer.g.scaler.get_scale(),
            }
        self.actions = 0
        self.tracker.log(trainer.images_seen, metrics)
        self.display.log(trainer.images_seen, metrics)

    def _samples(self) -> list[Finding]:
        """Draws the grid, and looks at how alike its images are."""
        trainer = self.trainer
        self.diversity = on_main(self._draw)
        return self.watchdog.look_at_samples(trainer.steps, self.diversity)

    def _draw(self) -> float:
        shown, images = self.trainer.config.log.samples, self.trainer.images_seen
        fakes = self.sampler.sample(range(max(shown, DIVERSITY_SAMPLES)))
        self.tracker.samples(images, fakes[:shown], self.preview[:shown])
        return diversity(fakes[:DIVERSITY_SAMPLES], self.preview[:DIVERSITY_SAMPLES])

    def _report_action(self, action: int) -> None:
        self.actions += action
        if action:
            trainer, verb = self.trainer, "held back" if action > 0 else "released"
            self.display.say(
                f"balance: D {verb} at step {trainer.steps}: level {trainer.balance_level}, learning rate "
                f"{trainer.d_lr:.3g}, dropout {trainer.d_dropout:.2f}"
            )
