"""Records a run while it trains: metrics.jsonl, scores.jsonl, sample grids, curves, and the trackers of `log.to`.

In: host floats and uint8 images. Out: files under RUN and, through its backends, W&B and others. metrics.jsonl is
complete whatever happens to them.
"""

from __future__ import annotations

import copy
import importlib.util
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from distgan.config.choices import TRACKERS
from distgan.config.registry import short_name
from distgan.config.schema import Config
from distgan.training.tracking.backend import Samples, TrackerBackend
from distgan.training.tracking.bounded import Bounded
from distgan.training.tracking.curves import draw_curves
from distgan.training.tracking.jsonl import JsonLines, LineFile, MetricsFile, read_metrics
from distgan.training.tracking.wandb_client import WandbMachine, can_share
from distgan.training.tracking.wandb_mode import Mode, choose_mode
from distgan.training.tracking.wandb_run import WandbRun
from distgan.utils.background import short
from distgan.utils.errors import ConfigError
from distgan.utils.images import save_png, side_by_side
from distgan.utils.log import log

EXTRAS = ("tensorboard", "trackio")  # trackers whose library is an extra of the same name


class Tracker(TrackerBackend):
    """Writes a run's record; for the main process only. Neither a backend nor a full disk makes a method raise."""

    def __init__(self, directory: Path, start_images: int, backends: Sequence[TrackerBackend] = ()) -> None:
        """backends: W&B and the further records, which are told everything."""
        self.directory = directory
        self._backends = backends
        self._warned: set[str] = set()
        (directory / "samples").mkdir(parents=True, exist_ok=True)
        self._metrics = MetricsFile(directory / "metrics.jsonl", start_images)
        self._scores = JsonLines(directory / "scores.jsonl", start_images)
        self._events = LineFile(directory / "events.jsonl")

    def log(self, images: int, metrics: dict[str, float]) -> None:
        """Adds a line to metrics.jsonl and a row to the W&B run. images: real images seen, never falling."""
        self._guard("metrics.jsonl", lambda: self._metrics.append(images, metrics))
        self._tell("log", images, metrics)

    def scores(self, images: int, scores: dict[str, Any]) -> None:
        """Adds a line to scores.jsonl. scores: plain JSON values, with their protocol."""
        self._guard("scores.jsonl", lambda: self._scores.add({"images": images, "scores": scores}))
        self._tell("scores", images, scores)

    def samples(self, images: int, samples: Samples) -> None:
        """Writes RUN/samples/fakes-<images>.png, reals left and fakes right, interpolation-<images>.png, and once
        reals.png."""
        self._tell("samples", images, samples)
        folder, shown = self.directory / "samples", samples.captioned()
        if not (folder / "reals.png").exists():
            self._guard("samples", lambda: save_png(shown["reals"].image, folder / "reals.png"))
        both = side_by_side(shown["reals"].image, shown["fakes"].image)
        self._guard("samples", lambda: save_png(both, folder / f"fakes-{images:09d}.png"))
        if strip := shown.get("interpolation"):
            self._guard("samples", lambda: save_png(strip.image, folder / f"interpolation-{images:09d}.png"))

    def event(self, images: int, kind: str, text: str, alert: bool) -> None:
        """Adds a line to events.jsonl, which no restart and no rollback removes. alert: a W&B alert as well."""
        row = {"images": images, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": kind, "text": text}
        self._guard("events.jsonl", lambda: self._events.add(row))
        self._tell("event", images, kind, text, alert)

    def rewind(self, images: int) -> None:
        """Drops the lines after `images` of metrics.jsonl and scores.jsonl: a rollback has that part trained again."""
        self._guard("metrics.jsonl", lambda: self._metrics.rewind(images))
        self._guard("scores.jsonl", lambda: self._scores.rewind(images))
        self._tell("rewind", images)

    def artifact(self, path: Path, metadata: dict[str, Any], alias: str = "latest") -> None:
        """Uploads an exported generator to W&B as a new version of generator-RUNNAME."""
        self._tell("artifact", path, metadata, alias)

    def page(self, path: Path) -> None:
        """Shows the report in the W&B run."""
        self._tell("page", path)

    def shared_run(self) -> dict[str, str] | None:
        """Project and entity of a W&B run that takes the system metrics of other machines; None: there is none."""
        return next((each.shared_run() for each in self._backends if isinstance(each, WandbRun)), None)

    def finish(self, exit_code: int = 0) -> None:
        """Ends the files, then the backends within a bounded time, and draws RUN/curves.png from metrics.jsonl."""
        self._guard("metrics.jsonl", self._metrics.close)
        self._guard("scores.jsonl", self._scores.close)
        self._guard("events.jsonl", self._events.close)
        finish_all(self._backends, exit_code)
        curves = self.directory / "curves.png"
        self._guard("curves.png", lambda: draw_curves(read_metrics(self._metrics.path), curves))

    def _tell(self, method: str, *arguments: Any) -> None:
        """Calls a method of every backend, of which none raises or waits."""
        for backend in self._backends:
            getattr(backend, method)(*arguments)

    def _guard(self, what: str, write: Callable[[], None]) -> None:
        try:
            write()
        except (OSError, ImportError) as error:  # a full disk; a matplotlib that does not import
            if what not in self._warned:
                self._warned.add(what)
                log.warning("%s: %s cannot be written (%s); training goes on", self.directory, what, short(error))


def open_tracker(
    config: Config, *, start_images: int, run_id: str, description: dict[str, Any], manifest: str = ""
) -> Tracker:
    """The tracker of the main process.

    start_images: images seen so far, 0 for a new run; run_id: W&B's id, the same at every restart of a training;
    description: resolved configuration and plain facts, for every tracker; manifest: the data set's, JSON, for W&B.
    Raises ConfigError if `wandb.mode=online` has no credentials (see `choose_mode`).
    """
    run_dir = config.run_dir
    mode, why = wandb_mode(config)
    run_dir.mkdir(parents=True, exist_ok=True)
    backends: list[TrackerBackend] = []
    try:
        for chosen in config.log.to:
            if chosen.name != "wandb":
                build = partial(TRACKERS.build, chosen, run_dir, copy.deepcopy(description))
                backends.append(Bounded(short_name(chosen.name), build))
        if mode != "disabled":
            run = WandbRun(config.wandb, run_dir, mode, run_id, description, manifest)
            backends.append(run)
            why = why and f"{why}; upload it later with: wandb login && {run.sync_command}"
        if why:
            log.info("%s", why)
        tracker = Tracker(run_dir, start_images, backends)
    except BaseException:
        finish_all(backends, 1)
        raise
    tracker.rewind(start_images)
    return tracker


def finish_all(backends: Sequence[TrackerBackend], exit_code: int) -> None:
    """Ends them side by side, since each may take its time."""
    with ThreadPoolExecutor(max(1, len(backends))) as pool:
        list(pool.map(lambda backend: backend.finish(exit_code), backends))


def wandb_mode(config: Config) -> tuple[Mode, str | None]:
    """W&B's mode and the reason for it, as of `choose_mode`; disabled where `log.to` does not name it."""
    return choose_mode(config.wandb) if config.log.names("wandb") else ("disabled", None)


def check_trackers(config: Config) -> None:
    """Raises ConfigError for a mistake in W&B's settings or variables, and for a tracker whose extra is missing."""
    wandb_mode(config)
    for name in EXTRAS:
        if config.log.names(name) and importlib.util.find_spec(name) is None:
            raise ConfigError(
                f'log.to={name} needs the package {name}: pip install "distgan[{name}]", or leave the name out'
            )


def open_machine(config: Config, run_id: str, shared_run: dict[str, str] | None) -> TrackerBackend:
    """What the first process of another machine records: its system metrics, in the main process's W&B run.

    shared_run: of `Tracker`; None: there is no such run.
    """
    try:
        mode, _ = wandb_mode(config)
    except ConfigError:  # this machine has no key: the main process's has
        return TrackerBackend()
    if shared_run and mode == "online" and can_share():
        return WandbMachine(config.wandb.model_copy(update=shared_run), config.run_dir, mode, run_id)
    return TrackerBackend()


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
