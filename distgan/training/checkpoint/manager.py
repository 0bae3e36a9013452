"""The checkpoints of a run: written in the background when they are due, read again after bad numbers.

All methods but `poll` are collectives; only the main process writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distgan.config.schema import CheckpointConfig
from distgan.distributed.collectives import on_main
from distgan.training.checkpoint import storage
from distgan.training.checkpoint.async_writer import AsyncCheckpointWriter
from distgan.training.checkpoint.state import capture, copy_to_host, restore
from distgan.training.checkpoint.storage import State
from distgan.training.monitors import Monitors
from distgan.training.telemetry import Telemetry
from distgan.training.trainer import Trainer
from distgan.utils.errors import CheckpointError, Halted, Unsaved

POLL = 5.0  # seconds that the ranks wait at a time while the disk is slow
AGAIN = 10.0  # seconds between two tries of the last checkpoint


class CheckpointManager:
    """Saves, and goes back to what it has saved."""

    def __init__(
        self,
        directory: Path,
        config: CheckpointConfig,
        trainer: Trainer,
        monitors: Monitors,
        facts: dict[str, Any],
        telemetry: Telemetry,
    ) -> None:
        """directory: RUN/checkpoints; facts: plain values for every checkpoint, such as the configuration."""
        self.directory, self.config, self.trainer = directory, config, trainer
        self.monitors, self.facts, self.telemetry = monitors, facts, telemetry
        self.writer = AsyncCheckpointWriter(directory, config)
        has_none = on_main(lambda: not storage.steps(directory))
        self._origin = capture(trainer) if has_none else None  # until there is a checkpoint of this run

    def save(self, wait: bool = False) -> None:
        """Begins to write a checkpoint of this step.

        wait: for the one before, if that is still being written; else this one is left out, which is reported.
        """
        if wait:
            self._settle()
        windows = self._windows()
        if self._origin and on_main(lambda: bool(storage.steps(self.directory))):
            self._origin = None
        if self.trainer.accelerator.is_main_process:
            if busy := self.writer.busy():
                self.telemetry.warn("checkpoint", f"{busy}: a slow disk; that of step {self.trainer.steps} is left out")
            else:
                self._put(self._state(windows))

    def save_last(self, give_up: Callable[[], bool]) -> None:
        """Returns when a checkpoint of this step is on disk; tries again for checkpoint.retry_minutes.

        give_up: tells, on the main process after each failure, whether there is no time for another try. Raises, on
        every rank, CheckpointError if it cannot be written, Unsaved if it was given up.
        """
        windows = self._windows()
        state = self._state(windows) if self.trainer.accelerator.is_main_process else None
        minutes = self.config.retry_minutes
        deadline = time.monotonic() + 60 * minutes
        self._settle()
        self.poll()  # reports a failure of the one before
        while True:
            if state is not None:
                self._put(state)
            self._settle()
            failure, hurry, over = on_main(
                lambda: (self.writer.take_failure(), give_up(), time.monotonic() >= deadline)
            )
            if failure is None:
                return
            failure.everywhere = True
            if hurry or over:
                raise Unsaved(f"{failure}; the same command goes on from the newest") if hurry else failure
            self.telemetry.warn(
                "checkpoint", f"{failure}; it is tried again every {AGAIN:.0f} s for {minutes:g} minutes"
            )
            time.sleep(min(AGAIN, max(deadline - time.monotonic(), 0)))

    def poll(self) -> bool:
        """Reports a failed checkpoint, after every step. Returns whether checkpoint.max_failures ends training."""
        failure: CheckpointError | None = self.writer.take_failure()
        if failure is not None:
            self.telemetry.warn("checkpoint", f"{failure}; training goes on and tries again at the next checkpoint")
        limit = self.config.max_failures
        return limit is not None and self.writer.failures >= limit

    def go_back(self, healthy_step: int) -> str:
        """Puts the newest checkpoint of `healthy_step` or before into the trainer, with lower learning rates.

        Later checkpoints are removed. Returns where the trainer is now. Raises Halted if there is no such checkpoint.
        """
        trainer = self.trainer
        self._settle()
        path = on_main(lambda: storage.newest(self.directory, self._say, healthy_step))
        state = storage.load(path) if path else self._origin
        if state is None:
            raise Halted(
                f"no checkpoint of step {healthy_step} or before is left to go back to; keep more of them "
                "(checkpoint.keep_last, checkpoint.keep_every_steps)"
            )
        watchdog = self.monitors.watchdog
        scale, rollbacks = trainer.lr_scale * watchdog.config.lr_factor, watchdog.memory.rollbacks + 1
        restore(trainer, state)
        trainer.lr_scale = scale
        self.monitors.restore(state, trainer.accelerator.device)
        self.monitors.interrupted = False
        watchdog.memory.rollbacks = rollbacks
        on_main(lambda: storage.discard(self.directory, trainer.steps))
        self.save()
        return f"step {trainer.steps}"

    def finish(self) -> None:
        """Waits until nothing is being written."""
        self._settle()

    def _windows(self) -> tuple[State, State]:
        """What is gathered from all ranks: the state of the controllers and of the monitors."""
        return self.trainer.controllers.state(), self.monitors.state()

    def _state(self, windows: tuple[State, State]) -> State:
        """All of it, in host memory: on the main process alone, which writes it."""
        controllers, monitors = windows
        state = copy_to_host(self.trainer, controllers)
        tensors = state.tensors | {name: tensor.cpu() for name, tensor in monitors.tensors.items()}
        return State(tensors, state.values | self.facts | monitors.values)

    def _put(self, state: State) -> None:
        step = self.trainer.steps
        self.writer.put(step, state, self.monitors.watchdog.healthy_step(step), self.monitors.early_stopping.step)

    def _settle(self) -> None:
        """Waits until nothing is being written, all ranks together, so that none of them times out."""
        while not on_main(lambda: self.writer.wait(POLL)):
            pass

    def _say(self, text: str) -> None:
        self.telemetry.warn("checkpoint", text)
