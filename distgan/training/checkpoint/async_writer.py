"""Writes checkpoints in a thread, one at a time: training does not wait for a slow or a full disk.

In: copies of the state in host memory, on the main process. Out: checkpoint directories. A failure is kept until the
caller asks for it, and changes nothing on disk.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from distgan.config.schema import CheckpointConfig
from distgan.training.checkpoint import storage
from distgan.training.checkpoint.storage import State
from distgan.utils.errors import CheckpointError


@dataclass
class _Job:
    step: int
    began: float
    thread: threading.Thread


class AsyncCheckpointWriter:
    """Writes the checkpoints of one run directory."""

    def __init__(self, directory: Path, config: CheckpointConfig) -> None:
        self.directory, self.config = directory, config
        self.failures = 0
        """Checkpoints in a row that could not be written."""
        self._failure: CheckpointError | None = None
        self._written: queue.SimpleQueue[Path] = queue.SimpleQueue()
        self._job: _Job | None = None

    def put(self, step: int, state: State, healthy_step: int, best_step: int | None = None) -> None:
        """Begins to write a checkpoint; the one before must be finished (see `busy`).

        A checkpoint of `healthy_step` or before and that of `best_step` are kept, whatever the configuration says.
        """
        thread = threading.Thread(target=self._write, args=(step, state, healthy_step, best_step), name="checkpoint")
        self._job = _Job(step, time.monotonic(), thread)
        thread.start()

    def busy(self) -> str | None:
        """A sentence about the checkpoint that is still being written, or None."""
        if self._job is None or not self._job.thread.is_alive():
            return None
        return f"the checkpoint of step {self._job.step} is still being written after {self._seconds():.0f} s"

    def wait(self, seconds: float | None = None) -> bool:
        """Waits at most this long (None: without limit). Returns whether nothing is being written any more."""
        if self._job is not None:
            self._job.thread.join(seconds)
        return self.busy() is None

    def take_failure(self) -> CheckpointError | None:
        """The error of the last checkpoint, or None; the next call returns None."""
        if self.busy():
            return None
        failure, self._failure = self._failure, None
        return failure

    def take_written(self) -> list[Path]:
        """The checkpoints that have been written since the last call; some may have been removed by rotation."""
        return [self._written.get() for _ in range(self._written.qsize())]

    def _write(self, step: int, state: State, healthy_step: int, best_step: int | None) -> None:
        try:
            path = storage.save(self.directory, step, state.tensors, state.values)
        except Exception as error:  # any (memory, a file system): it must be reported and tried again
            reason = f"checkpoint of step {step} cannot be written: {type(error).__name__}: {error}"
            self._failure = error if isinstance(error, CheckpointError) else CheckpointError(reason)
            self.failures += 1
            return
        self.failures = 0
        self._written.put(path)
        with contextlib.suppress(OSError):  # tried again after the next
            last, every = self.config.keep_last, self.config.keep_every_steps
            storage.rotate(self.directory, step, last, every, healthy_step, best_step)

    def _seconds(self) -> float:
        return time.monotonic() - self._job.began if self._job else 0.0
