"""The loop around `Trainer.step`: logging, samples, checkpoints, balance, stopping. It decides when, not how."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import Tensor

from distgan import balance, checkpoint
from distgan.data.loader import Batch, Reals
from distgan.display import Display
from distgan.distributed import StopSignal
from distgan.errors import CheckpointError
from distgan.generator import Generator
from distgan.state import capture
from distgan.tracking import NullTracker, RunningMeans, Tracker
from distgan.trainer import Trainer


@dataclass
class Fit:
    """One training run on this rank."""

    trainer: Trainer
    reals: Reals
    tracker: Tracker | NullTracker
    display: Display
    facts: dict[str, Any]
    """Plain values that go into every checkpoint: configuration, run id, data digest, versions."""
    preview: Tensor
    """Real pictures for the sample grids: uint8 [N, 3, H, W]."""
    sampler: Generator
    """The averaged generator: grids show seeds 0, 1, 2, ..., as `distgan sample --seeds 0-N` will."""
    stop: StopSignal
    actions: int = 0
    """Net actions of the balance since the last line of metrics."""

    def run(self) -> int:
        """Trains to the budget, or to the end of the step in which all ranks agree to stop; returns that signal or 0.

        A checkpoint of the last step is on disk when it returns. Raises CheckpointError if it could not be written.
        """
        config, trainer, signum = self.trainer.config, self.trainer, 0
        waiting = Waiting(self.reals.batches(trainer.d.updates))
        self.display.start(trainer.images_seen)
        means, clock = RunningMeans(), Clock(waiting, trainer.images_seen)
        while trainer.steps < config.total_steps and not signum:
            metrics = trainer.step(waiting)
            means.add(metrics)
            self._report_action(trainer.rebalance(metrics))
            signum = self.stop.agreed()
            ending = bool(signum) or trainer.steps == config.total_steps
            if ending:
                self.save()  # first: after a signal there may be little time
            if ending or trainer.steps % config.log.every_steps == 0:
                self._log(means.reduce() | clock.window(trainer.images_seen))
            if ending or trainer.steps % config.log.samples_every_steps == 0:
                self._samples()
            if not ending and trainer.steps % config.checkpoint.every_steps == 0:
                self._save_or_warn()
            self.display.step(trainer.images_seen)
        return signum

    def save(self) -> None:
        """Writes a checkpoint of this step, on the main process, and rotates. Every rank must call it.

        Raises CheckpointError on the main process.
        """
        state, config = capture(self.trainer), self.trainer.config.checkpoint
        if not self.trainer.accelerator.is_main_process:
            return
        directory = self.trainer.config.run_dir / "checkpoints"
        checkpoint.save(directory, self.trainer.steps, state.tensors, state.values | self.facts)
        checkpoint.rotate(directory, config.keep_last, config.keep_every_steps)

    def _save_or_warn(self) -> None:
        try:
            self.save()
        except CheckpointError as error:
            self.display.say(f"WARNING: {error}; training goes on and tries again at the next checkpoint")

    def _log(self, metrics: dict[str, float]) -> None:
        trainer = self.trainer
        metrics |= {
            "step": trainer.steps,
            "epoch": self.reals.epoch(trainer.d.updates),
            "lr/d": trainer.d_lr,
            "lr/g": trainer.g.lr(),
            "balance/lr_scale": balance.lr_scale(trainer.config.balance, trainer.balance_level),
            "balance/dropout": trainer.d_dropout,
            "balance/action": self.actions,
            **memory(trainer.accelerator.device),
        }
        if trainer.g.scaler.is_enabled():
            metrics |= {
                "precision/scale_d": trainer.d.scaler.get_scale(),
                "precision/scale_g": trainer.g.scaler.get_scale(),
            }
        self.actions = 0
        self.tracker.log(trainer.images_seen, metrics)
        self.display.log(trainer.images_seen, metrics)

    def _samples(self) -> None:
        if self.trainer.accelerator.is_main_process:
            fakes = self.sampler.sample(range(self.trainer.config.log.samples))
            self.tracker.samples(self.trainer.images_seen, fakes, self.preview)

    def _report_action(self, action: int) -> None:
        self.actions += action
        if action:
            trainer, verb = self.trainer, "held back" if action > 0 else "released"
            self.display.say(
                f"balance: D {verb} at step {trainer.steps}: level {trainer.balance_level}, learning rate "
                f"{trainer.d_lr:.3g}, dropout {trainer.d_dropout:.2f}"
            )


class Waiting:
    """Passes batches on and adds up the time that was spent waiting for them."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches, self.seconds = batches, 0.0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        start = time.perf_counter()
        batch = next(self._batches)
        self.seconds += time.perf_counter() - start
        return batch


class Clock:
    """Speed since the last look."""

    def __init__(self, waiting: Waiting, images: int) -> None:
        self._waiting, self._images = waiting, images
        self._time, self._waited = time.perf_counter(), waiting.seconds

    def window(self, images: int) -> dict[str, float]:
        now, waited = time.perf_counter(), self._waiting.seconds
        seconds = max(now - self._time, 1e-9)
        speeds = {
            "speed/images_per_second": (images - self._images) / seconds,
            "speed/data_wait": (waited - self._waited) / seconds,
        }
        self._images, self._time, self._waited = images, now, waited
        return speeds


def memory(device: torch.device) -> dict[str, float]:
    """Peak of the device and resident set of this process, GiB."""
    figures = {"memory/host_gb": psutil.Process().memory_info().rss / 2**30}
    if device.type == "cuda":
        figures["memory/device_gb"] = torch.cuda.max_memory_allocated(device) / 2**30
    return figures
