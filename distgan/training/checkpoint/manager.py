"""A run's checkpoints while it trains: written when they are due, without waiting; gone back to after bad numbers.

All methods but `poll` are for every rank together; only the main process writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from distgan.distributed.collectives import on_main
from distgan.training.checkpoint import storage
from distgan.training.checkpoint.async_writer import AsyncCheckpointWriter
from distgan.training.checkpoint.state import State, capture, restore
from distgan.training.early_stopping import EarlyStopping
from distgan.training.events import Reporter
from distgan.training.trainer import Trainer
from distgan.training.watchdog import Watchdog
from distgan.utils.errors import CheckpointError, Halted, Unsaved

POLL = 5.0  # seconds that the ranks wait at a time while the disk is slow
AGAIN = 10.0  # seconds between two tries of the last checkpoint


class CheckpointManager:
    """Saves and goes back."""

    def __init__(
        self, trainer: Trainer, watchdog: Watchdog, best: EarlyStopping, facts: dict[str, Any], report: Reporter
    ) -> None:
        """watchdog, best: their memories go into every checkpoint, and so do facts, which are plain values:
        configuration, run id, data digest, versions."""
        self.trainer, self.watchdog, self.best, self.facts, self.report = trainer, watchdog, best, facts, report
        self.directory = trainer.config.run_dir / "checkpoints"
        self.writer = AsyncCheckpointWriter(self.directory, trainer.config.checkpoint)
        has_none = on_main(lambda: not storage.steps(self.directory))
        self._origin = capture(trainer) if has_none else None  # until there is a checkpoint of this run

    def save(self, wait: bool = False) -> None:
        """Begins to write a checkpoint of this step; while the last is being written, waits, or leaves it out and says
        so."""
        if wait:
            self._settle()
        state = self._state()
        if self._origin and on_main(lambda: bool(storage.steps(self.directory))):
            self._origin = None
        if self.trainer.accelerator.is_main_process:
            if busy := self.writer.busy():
                self.report("checkpoint", f"{busy}: a slow disk; that of step {self.trainer.steps} is left out")
            else:
                self._put(state)

    def save_last(self, give_up: Callable[[], bool]) -> None:
        """Returns when a checkpoint of this step is on disk; tries again for checkpoint.retry_minutes.

        give_up: asked on the main process after each failure: whether there is no time for that. Raises, on every rank,
        CheckpointError if it cannot be written, Unsaved if that was given up.
        """
        state, accelerator = self._state(), self.trainer.accelerator
        minutes = self.trainer.config.checkpoint.retry_minutes
        deadline = time.monotonic() + 60 * minutes
        self._settle()
        self.poll()  # what became of the one before
        while True:
            if accelerator.is_main_process:
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
            self.report("checkpoint", f"{failure}; it is tried again every {AGAIN:.0f} s for {minutes:g} minutes")
            time.sleep(min(AGAIN, max(deadline - time.monotonic(), 0)))

    def poll(self) -> bool:
        """On the main process, after every step: reports a failed checkpoint; whether the rule ends training."""
        failure: CheckpointError | None = self.writer.take_failure()
        if failure is not None:
            self.report("checkpoint", f"{failure}; training goes on and tries again at the next checkpoint")
        limit = self.trainer.config.checkpoint.max_failures
        return limit is not None and self.writer.failures >= limit

    def go_back(self, healthy_step: int) -> str:
        """Puts the newest checkpoint of that step or before into the trainer, with lower learning rates, and writes
        that down: later checkpoints are removed. Returns where the trainer is now. Raises Halted if there is none."""
        trainer = self.trainer
        self._settle()
        path = on_main(lambda: storage.newest(self.directory, self._say, healthy_step))
        state = State(*storage.load(path)) if path else self._origin
        if state is None:
            raise Halted(
                f"no checkpoint of step {healthy_step} or before is left to go back to; keep more of them "
                "(checkpoint.keep_last, checkpoint.keep_every_steps)"
            )
        scale = trainer.lr_scale * trainer.config.watchdog.lr_factor
        rollbacks = self.watchdog.memory.rollbacks + 1
        restore(trainer, state)
        trainer.lr_scale = scale
        self.watchdog.restore(state.values)
        self.watchdog.memory.rollbacks = rollbacks
        self.best.restore(state.values)
        on_main(lambda: storage.discard(self.directory, trainer.steps))
        self.save()
        return f"step {trainer.steps}"

    def finish(self) -> None:
        """Waits until nothing is being written."""
        self._settle()

    def _state(self) -> State:
        state = capture(self.trainer)
        memories = {"watchdog": self.watchdog.memory, "best": self.best.memory}
        kept = {name: memory.model_dump(mode="json") for name, memory in memories.items()}
        return State(state.tensors, state.values | self.facts | kept)

    def _put(self, state: State) -> None:
        step = self.trainer.steps
        self.writer.put(step, state, self.watchdog.healthy_step(step), self.best.step)

    def _settle(self) -> None:
        """All ranks wait together, so that none of them times out."""
        while not on_main(lambda: self.writer.wait(POLL)):
            pass

    def _say(self, text: str) -> None:
        self.report("checkpoint", text)
