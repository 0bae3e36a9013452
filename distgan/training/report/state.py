"""How far a run is, and whether a training writes to it now: from its files and its lock, without touching either."""

from __future__ import annotations

import contextlib
import platform
import time
from pathlib import Path

from distgan.config.schema import Config
from distgan.training.report.contents import State
from distgan.training.report.history import History
from distgan.training.report.own_files import own_file
from distgan.training.run_dir import has_ended, images_at_end, is_training
from distgan.utils.safe_io import printable, read_bytes

RECENT = 120.0  # seconds since the last line, within which a run on another machine counts as training
WAITING, STARTING, TRAINING = "waiting", "starting", "training"
FINISHING, ENDED, STOPPED = "finishing", "ended", "stopped"


def state_of(run_dir: Path, history: History, config: Config | None) -> State:
    """The state of a run. history: of its metrics; config: its settings, None if they cannot be read."""
    budget = config.total_steps * config.images_per_step if config else None
    images = int(history.images)
    word, text = _word(run_dir, images, budget)
    rate = history.now("speed/images_per_second")
    known = rate if rate > 0 else None
    left = (budget - images) / rate if word == TRAINING and known and budget is not None else None
    return State(word, text, images, budget, known, None if left is None else max(0.0, left))


def duration(seconds: float) -> str:
    """42 s, 6.7 minutes, 3.2 hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:,.1f} minutes" if seconds < 7200 else f"{seconds / 3600:,.1f} hours"


def _word(run_dir: Path, images: int, budget: int | None) -> tuple[str, str]:
    """The state in a word, and a sentence."""
    active = is_training(run_dir) or _seen_elsewhere(run_dir)
    if not run_dir.is_dir():
        return WAITING, f"There is no {run_dir} yet: this page waits for a training that makes it."
    if active and not images:
        return STARTING, "A training has begun; this page waits for its first line of metrics."
    if active and budget is not None and images >= budget:
        return FINISHING, "All images are seen; the generator, the curves and the report are being written."
    if active:
        return TRAINING, f"A training is running. The newest line is of {_time_of_last_line(run_dir)}."
    if _has_ended(run_dir, images):
        return ENDED, "The training has ended."
    if not images:
        return WAITING, "No training is running, and there is no line of metrics yet: this page waits for one."
    return STOPPED, (
        f"No training is running. It stopped before its end, its newest line is of {_time_of_last_line(run_dir)}; the "
        "command that started it goes on from there."
    )


def _time_of_last_line(run_dir: Path) -> str:
    with contextlib.suppress(OSError):
        return time.strftime("%H:%M:%S", time.localtime((run_dir / "metrics.jsonl").stat().st_mtime))
    return "an unknown time"


def _has_ended(run_dir: Path, images: int) -> bool:
    """images: of the newest line of metrics; the last steps may have none."""
    end = images_at_end(run_dir)
    return has_ended(run_dir, images if end is None else end) and (end is None or end >= images)


def _seen_elsewhere(run_dir: Path) -> bool:
    """Whether another machine, whose lock may not be seen here, has written to the run just now."""
    with contextlib.suppress(OSError, ValueError):
        holder = printable(read_bytes(own_file(run_dir, ".lock"), 1000).decode(errors="replace"))
        recent = time.time() - (run_dir / "metrics.jsonl").stat().st_mtime < RECENT
        return recent and bool(holder) and not holder.endswith(f" on {platform.node()}")
    return False
