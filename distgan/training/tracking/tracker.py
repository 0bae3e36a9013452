"""Records a run while it trains: metrics.jsonl, scores.jsonl, sample grids, curves, and the W&B run.

In: host floats and uint8 images. Out: files under RUN and, through `wandb_run`, W&B. metrics.jsonl is complete
whatever happens to W&B.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from distgan.config.schema import WandbConfig
from distgan.training.tracking.curves import draw_curves
from distgan.training.tracking.jsonl import JsonLines, LineFile, MetricsFile, read_metrics
from distgan.training.tracking.wandb_run import WandbRun, choose_mode
from distgan.utils.background import short
from distgan.utils.images import save_png, side_by_side, to_grid
from distgan.utils.log import log


class Tracker:
    """Writes a run's record; for the main process only. Neither W&B nor a full disk makes a method raise."""

    def __init__(self, directory: Path, start_images: int, wandb_run: WandbRun | None) -> None:
        self.directory = directory
        self._wandb = wandb_run
        self._warned: set[str] = set()
        (directory / "samples").mkdir(parents=True, exist_ok=True)
        self._metrics = MetricsFile(directory / "metrics.jsonl", start_images)
        self._scores = JsonLines(directory / "scores.jsonl", start_images)
        self._events = LineFile(directory / "events.jsonl")

    def log(self, images: int, metrics: dict[str, float]) -> None:
        """Adds a line to metrics.jsonl and a row to the W&B run. images: real images seen, never falling."""
        self._guard("metrics.jsonl", lambda: self._metrics.append(images, metrics))
        if self._wandb:
            self._wandb.log(images, metrics)

    def scores(self, images: int, scores: dict[str, Any]) -> None:
        """Adds a line to scores.jsonl. scores: plain JSON values, with their protocol."""
        self._guard("scores.jsonl", lambda: self._scores.add({"images": images, "scores": scores}))

    def samples(self, images: int, fakes: Tensor, reals: Tensor) -> None:
        """Writes RUN/samples/fakes-<images>.png, reals left and fakes right, and once reals.png; W&B gets two grids.

        fakes, reals: uint8 [N, 3, H, W] on the CPU.
        """
        folder = self.directory / "samples"
        first = not (folder / "reals.png").exists()
        if first:
            self._guard("samples", lambda: save_png(to_grid(reals), folder / "reals.png"))
        self._guard("samples", lambda: save_png(side_by_side(reals, fakes), folder / f"fakes-{images:09d}.png"))
        if self._wandb:
            self._wandb.image(images, "samples/fakes", to_grid(fakes))
            if first:
                self._wandb.image(images, "samples/reals", to_grid(reals))

    def event(self, images: int, kind: str, text: str, alert: bool) -> None:
        """Adds a line to events.jsonl, which no restart and no rollback removes. alert: a W&B alert as well."""
        row = {"images": images, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": kind, "text": text}
        self._guard("events.jsonl", lambda: self._events.add(row))
        if self._wandb and alert:
            self._wandb.alert(kind, text)

    def rewind(self, images: int) -> None:
        """Drops the lines after `images` of metrics.jsonl and scores.jsonl: a rollback has that part trained again."""
        self._guard("metrics.jsonl", lambda: self._metrics.rewind(images))
        self._guard("scores.jsonl", lambda: self._scores.rewind(images))

    def artifact(self, path: Path, metadata: dict[str, Any], alias: str = "latest") -> None:
        """Uploads an exported generator to W&B as a new version of generator-RUNNAME."""
        if self._wandb:
            self._wandb.artifact(path, metadata, alias)

    def finish(self, exit_code: int = 0) -> None:
        """Ends the W&B run within a bounded time, and draws RUN/curves.png from all of metrics.jsonl."""
        if self._wandb:
            self._wandb.finish(exit_code)
        self._guard("metrics.jsonl", self._metrics.close)
        self._guard("scores.jsonl", self._scores.close)
        self._guard("events.jsonl", self._events.close)
        rows = read_metrics(self._metrics.path)
        self._guard("curves.png", lambda: draw_curves(rows, self.directory / "curves.png"))

    def _guard(self, what: str, write: Callable[[], None]) -> None:
        try:
            write()
        except (OSError, ImportError) as error:  # a full disk; a matplotlib that does not import
            if what not in self._warned:
                self._warned.add(what)
                log.warning("%s: %s cannot be written (%s); training goes on", self.directory, what, short(error))


class NullTracker:
    """The tracker of the other ranks; it does nothing."""

    def log(self, images: int, metrics: dict[str, float]) -> None:
        pass

    def scores(self, images: int, scores: dict[str, Any]) -> None:
        pass

    def samples(self, images: int, fakes: Tensor, reals: Tensor) -> None:
        pass

    def event(self, images: int, kind: str, text: str, alert: bool) -> None:
        pass

    def rewind(self, images: int) -> None:
        pass

    def artifact(self, path: Path, metadata: dict[str, Any], alias: str = "latest") -> None:
        pass

    def finish(self, exit_code: int = 0) -> None:
        pass


def open_tracker(
    config: WandbConfig, run_dir: Path, *, start_images: int, run_id: str, description: dict[str, Any]
) -> Tracker:
    """The tracker of the main process.

    start_images: images seen so far, 0 for a new run; run_id: W&B's id, the same at every restart of a training;
    description: resolved configuration, git revision, manifest hash, versions, for W&B's config.
    Raises ConfigError if `wandb.mode=online` has no credentials (see `choose_mode`).
    """
    mode, why = choose_mode(config)
    run_dir.mkdir(parents=True, exist_ok=True)
    run = WandbRun(config, run_dir, mode, run_id, description) if mode != "disabled" else None
    if why:
        log.info("%s", f"{why}; upload it later with: wandb login && {run.sync_command}" if run else why)
    return Tracker(run_dir, start_images, run)


def git_revision(package: Path = Path(__file__).parent) -> str | None:
    """Commit of the checkout that holds `package`, with "-dirty" if tracked files differ; None outside a checkout.

    A package that merely lies in somebody's checkout (an ignored virtual environment) is not part of it: None.
    """
    git = ["git", "-C", str(package)]
    try:
        options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 5, "check": True}
        if not subprocess.run([*git, "ls-files", "--", "."], **options).stdout:
            return None
        return subprocess.run(
            [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"], **options
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
