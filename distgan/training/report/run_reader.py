"""Reads a run directory again and again while a training may write to it; also a damaged or a stranger's one.

In: RUN. Out: `Facts`, with a sentence in place of each part that cannot be read.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from distgan.config.load import read_config
from distgan.config.method import AUGMENTATIONS, LOSSES
from distgan.config.networks import GENERATORS
from distgan.config.recipes import read_alone
from distgan.config.schema import Config
from distgan.metrics.registry import BETTER, Direction, directions_of
from distgan.training.checkpoint import storage
from distgan.training.early_stopping import EarlyStopping
from distgan.training.report.contents import Evaluation, Event, Events, Facts, Grid, Missing, State, part
from distgan.training.report.grids import grids_of
from distgan.training.report.history import History
from distgan.training.report.own_files import LineTail, own_file
from distgan.training.report.state import STARTING, STOPPED, TRAINING, duration, state_of
from distgan.training.tracking.jsonl import Row, is_number
from distgan.utils.safe_io import printable, read_bytes, read_json

MAX_PROTOCOL = 40  # entries of a protocol, which has 13
MAX_SETTINGS_BYTES = 1 << 16  # of config.yaml
MAX_EVENTS = 200  # the newest
MAX_EVALUATIONS = 5000  # the newest

MAX_VALUES = 30  # scores of an evaluation
Stamp = tuple[int, int, int]


class Settings(NamedTuple):
    """RUN/config.yaml."""

    stamp: Stamp | None
    """Which file it was; None: it could not be looked at."""
    config: Config | Missing
    text: str | Missing
    tree: dict[str, Any] | Missing


class RunReader:
    """A run directory, and what was read of it so far."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._metrics = LineTail(run_dir, "metrics.jsonl")
        self._scores = LineTail(run_dir, "scores.jsonl")
        self._events = LineTail(run_dir, "events.jsonl")
        self._history = History()
        self._evaluations: dict[float, Evaluation] = {}
        self._newest: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._event_count = 0
        self._settings: Settings | None = None
        self._step: int | Missing = -1
        self._values: dict[str, Any] = {}

    @property
    def behind(self) -> bool:
        """Whether lines are left that `read` has not come to: it reads a bounded part of a long file."""
        return self._metrics.behind or self._scores.behind or self._events.behind

    def read_all(self) -> Facts:
        """What the files say now, all lines of them."""
        facts = self.read()
        while self.behind:
            facts = self.read()
        return facts

    def read(self) -> Facts:
        """What the files say now."""
        settings = self._read_settings()
        config = settings.config if isinstance(settings.config, Config) else None
        metrics, events = part(self._read_metrics), part(self._read_events)
        state = self._state(config)
        return Facts(
            name=config.run.name if config else self.run_dir.resolve().name,
            summary=summary_of(settings.config, metrics, self._read_state()),
            state=state,
            metrics=metrics,
            scores=_why_no_scores(part(self._read_scores), config),
            grids=part(lambda: grids_of(self.run_dir, _is_current(self.run_dir, state, self._history))),
            events=events,
            settings=settings.text,
            tree={} if isinstance(settings.tree, Missing) else settings.tree,
            best=EarlyStopping(config.best, config.evaluate).metric if config else None,
        )

    def _state(self, config: Config | None) -> State:
        state = state_of(self.run_dir, self._history, config)
        end = self._newest[-1] if self._newest and self._newest[-1].kind == "end" else None
        if state.word == STOPPED and end and end.images >= state.images:  # else it was killed after a later start
            state = replace(state, images=end.images, text=f"No training is running: {end.text}.")
        reading = f" Reading its lines: {self._history.lines:,} so far." if self.behind else ""
        return replace(state, text=state.text + reading)

    def _read_metrics(self) -> History | Missing:
        for row in self._rows(self._metrics, lambda: setattr(self, "_history", History())):
            self._history.add(row)
        return self._history if self._history.lines else Missing("there is no metrics.jsonl with lines")

    def _read_scores(self) -> list[Evaluation] | Missing:
        """The evaluations by images seen; after a restart a later line replaces one with the same number."""
        for row in self._rows(self._scores, self._evaluations.clear):
            if evaluation := _evaluation(row):
                self._evaluations[evaluation.images] = evaluation
        while len(self._evaluations) > MAX_EVALUATIONS:
            del self._evaluations[min(self._evaluations)]
        found = [self._evaluations[images] for images in sorted(self._evaluations)]
        return found or Missing("scores.jsonl holds no scores")

    def _read_events(self) -> Events:
        for row in self._rows(self._events, self._forget_events):
            self._newest.append(_event(row))
            self._event_count += 1
        return Events(list(reversed(self._newest)), self._event_count)

    def _forget_events(self) -> None:
        self._newest.clear()
        self._event_count = 0

    @staticmethod
    def _rows(tail: LineTail, forget: Callable[[], object]) -> list[Row]:
        """The added rows. forget: is called where they begin anew, or can no longer be read."""
        try:
            rows, anew = tail.read()
        except OSError:
            forget()
            raise
        if anew:
            forget()
        return rows

    def _read_state(self) -> dict[str, Any]:
        """The values of the newest checkpoint, read again when there is a newer one; {} without one."""
        step = part(lambda: (storage.steps(own_file(self.run_dir, "checkpoints")) or [-1])[-1])
        if step != self._step:
            values = part(lambda: _state_of(self.run_dir, step)) if isinstance(step, int) and step >= 0 else {}
            self._step, self._values = step, values if isinstance(values, dict) else {}
        return self._values

    def _read_settings(self) -> Settings:
        """config.yaml, read again when it has changed."""
        try:
            path = own_file(self.run_dir, "config.yaml")
            status = path.stat()
            stamp: Stamp | None = (status.st_ino, status.st_size, status.st_mtime_ns)
        except OSError:
            stamp = None
        if self._settings is None or stamp is None or self._settings.stamp != stamp:
            self._settings = Settings(
                stamp, *(part(partial(_of_settings, self.run_dir, read)) for read in (read_config, _text, read_alone))
            )
        return self._settings


def summary_of(config: Config | Missing, metrics: History | Missing, state: dict[str, Any]) -> list[tuple[str, str]]:
    """Labels and texts of the known facts. state: the values of the newest checkpoint."""
    rows = []
    if isinstance(config, Config):
        family, loss = GENERATORS.name_of(config.generator), LOSSES.name_of(config.loss)
        networks = f"{family}, loss {loss}, augmentation {AUGMENTATIONS.name_of(config.augment)}"
        rows += [("data", str(config.data.path)), ("recipe", networks)]
        rows += [("batch", f"{config.train.batch_size} images"), ("budget", f"{config.train.images:,} images")]
    else:
        rows.append(("settings", config.reason))
    if isinstance(metrics, History):
        rows.append(("images seen", f"{metrics.images:,.0f}"))
        rows.append(("time of the steps", f"about {duration(metrics.seconds)}"))
    rows += [(name, printable(str(state[name]))) for name in ("processes", "precision") if name in state]
    if isinstance(versions := state.get("versions"), dict):
        rows.append(("versions", printable(", ".join(f"{name} {text}" for name, text in versions.items()))))
    return rows


def _why_no_scores(scores: list[Evaluation] | Missing, config: Config | None) -> list[Evaluation] | Missing:
    if isinstance(scores, Missing) and config and config.evaluate.every_images is None:
        return Missing(f"{scores.reason}, and evaluate.every_images is null: the run is not evaluated")
    return scores


def _of_settings(run_dir: Path, read: Callable[[Path], Any]) -> Any:
    path = own_file(run_dir, "config.yaml")
    path.stat()  # "there is no config.yaml", before a run has one
    return read(path)


def _text(path: Path) -> str:
    return read_bytes(path, MAX_SETTINGS_BYTES).decode(errors="replace")


def _is_current(run_dir: Path, state: State, history: History) -> Callable[[Grid], bool]:
    """Tells the grids of this training from those that an earlier start drew of a part that is trained again."""
    begin = 0
    if state.word in (STARTING, TRAINING):
        with contextlib.suppress(OSError):
            begin = (run_dir / ".lock").stat().st_mtime_ns  # written when a training begins
    return lambda grid: grid.images <= history.images or grid.changed >= begin


def _state_of(run_dir: Path, step: int) -> dict[str, Any] | Missing:
    """The values of a checkpoint."""
    values = read_json(own_file(run_dir, f"checkpoints/step-{step:09d}/{storage.VALUES}"), storage.MAX_JSON)
    return values if isinstance(values, dict) else Missing("they are no values")


def _evaluation(row: Row) -> Evaluation | None:
    """A line of scores.jsonl; None if it holds no scores."""
    scores = row.get("scores")
    if not isinstance(scores, dict) or not (values := _numbers(scores.get("values"))):
        return None
    protocol = scores.get("protocol")
    entries = list(protocol.items())[:MAX_PROTOCOL] if isinstance(protocol, dict) else []
    shown = {printable(name, 40): printable(str(value), 200) for name, value in entries}
    own = directions_of(shown.get("extractor", "")) | BETTER
    better = {name: direction for name in values if (direction := own.get(name) or _said_better(name, scores))}
    return Evaluation(int(row["images"]), values, _numbers(scores.get("real_values")), shown, better)


def _said_better(name: str, scores: Row) -> Direction | None:
    """Which values of a metric from outside are better, as its line says."""
    further = scores.get("further")
    metric = further.get(name) if isinstance(further, dict) else None
    said = metric.get("better") if isinstance(metric, dict) else None
    return said if said in ("lower", "higher") else None


def _numbers(values: Any) -> dict[str, float]:
    """The numbers of a dict by name."""
    pairs = list(values.items())[:MAX_VALUES] if isinstance(values, dict) else ()
    return {printable(name, 60): float(value) for name, value in pairs if is_number(value)}


def _event(row: Row) -> Event:
    def text(name: str, limit: int) -> str:
        return printable(str(row.get(name, "")), limit)

    return Event(int(row["images"]), text("time", 40), text("event", 40), text("text", 1000))
