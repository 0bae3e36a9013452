"""A tracker that may raise or hang, called in a thread of its own, so that neither stops or slows a training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from distgan.training.tracking.backend import Samples, TrackerBackend
from distgan.utils.background import FINISH_SECONDS, SIGNAL_SECONDS, START_SECONDS, Worker, short
from distgan.utils.errors import DistganError
from distgan.utils.log import log


class Bounded(TrackerBackend):
    """Hands every call over without waiting; the start and `finish` wait a bounded time. No method raises."""

    def __init__(self, name: str, make: Callable[[], TrackerBackend]) -> None:
        """make: builds the tracker, in the thread that calls it. Raises its DistganError, such as a missing extra."""
        self.name = name
        self._backend = TrackerBackend()
        self._warned = False
        self._worker = Worker(name, lambda text: log.warning("%s; training goes on, metrics.jsonl is complete", text))
        mistakes: list[DistganError] = []

        def build() -> None:
            try:
                self._backend = make()
            except DistganError as error:
                mistakes.append(error)

        if not self._worker.last("start", build, START_SECONDS):
            self._worker.fail(f"it has not started within {START_SECONDS:.0f} s")
        if mistakes:
            raise mistakes[0]

    def log(self, images: int, metrics: dict[str, float]) -> None:
        self._tell("log", images, dict(metrics))

    def scores(self, images: int, scores: dict[str, Any]) -> None:
        self._tell("scores", images, scores)

    def samples(self, images: int, samples: Samples) -> None:
        self._tell("samples", images, samples)

    def event(self, images: int, kind: str, text: str, alert: bool) -> None:
        self._tell("event", images, kind, text, alert)

    def rewind(self, images: int) -> None:
        self._tell("rewind", images)

    def artifact(self, path: Path, metadata: dict[str, Any], alias: str = "latest") -> None:
        self._tell("artifact", path, metadata, alias)

    def page(self, path: Path) -> None:
        self._tell("page", path)

    def finish(self, exit_code: int = 0) -> None:
        """Waits until everything is written, SIGNAL_SECONDS after a signal or an error and FINISH_SECONDS else."""
        seconds = SIGNAL_SECONDS if exit_code else FINISH_SECONDS
        if self._worker.failure is None and not self._worker.last("finish", self._call("finish", exit_code), seconds):
            log.warning("tracker %s did not end within %.0f s: its last lines may be missing", self.name, seconds)
        if self._worker.dropped:
            log.info("tracker %s was too slow for %d calls; metrics.jsonl is complete", self.name, self._worker.dropped)

    def _tell(self, method: str, *arguments: Any) -> None:
        self._worker.put(method, self._call(method, *arguments))

    def _call(self, method: str, *arguments: Any) -> Callable[[], None]:
        """A call of the tracker's method; what the first that fails raises is reported."""

        def call() -> None:
            try:
                getattr(self._backend, method)(*arguments)
            except Exception as error:
                if not self._warned:
                    self._warned = True
                    log.warning("tracker %s: %s failed (%s); training goes on", self.name, method, short(error))

        return call
