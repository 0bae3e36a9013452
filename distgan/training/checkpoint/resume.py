"""Which checkpoint a start goes on from, and putting it into the trainer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from accelerate import Accelerator

from distgan.config.load import resume_changes
from distgan.config.schema import Config
from distgan.data.dataset import ImageDataset
from distgan.distributed.collectives import on_main
from distgan.training.checkpoint import storage
from distgan.training.checkpoint.state import State, restore
from distgan.training.tracking.progress_bar import ProgressBar
from distgan.training.trainer import Trainer
from distgan.utils.errors import CheckpointError
from distgan.utils.safe_io import printable, read_json

FACTS = {"config": dict, "data_digest": str, "precision": str, "processes": int, "run_id": str}  # of a state.json


class Saved(NamedTuple):
    """A checkpoint that is whole and of this recipe."""

    path: Path
    state: State
    changes: list[str]
    """Harmless changes of the configuration since then."""

    def is_of(self, run_dir: Path) -> bool:
        """Whether it is this run's own; else a new run begins from another one's."""
        return self.path.resolve().parent == (run_dir / "checkpoints").resolve()


def load_saved(config: Config, resume: str, accelerator: Accelerator) -> Saved | None:
    """What to resume from, the same on every rank, or None to start anew. Raises CheckpointError."""
    path = on_main(lambda: choose_checkpoint(config.run_dir / "checkpoints", resume))
    if path is None:
        return None
    state = State(*storage.load(path))
    if missing := [name for name, kind in FACTS.items() if type(state.values.get(name)) is not kind]:
        raise CheckpointError(f"{path} is damaged: its state.json has no {', '.join(missing)}")
    harmless, refused = resume_changes(state.values["config"], config)
    if refused:
        raise CheckpointError(
            f"{path} was made with another recipe: {'; '.join(refused)}. "
            "Set these back, or start a new run with run.name=NAME"
        )
    return Saved(path, state, harmless)


def choose_checkpoint(directory: Path, resume: str) -> Path | None:
    """The checkpoint that `resume` means for a run whose checkpoints lie in `directory`. Raises CheckpointError."""
    existing = storage.steps(directory)
    newest = directory / f"step-{existing[-1]:09d}" if existing else None
    if resume == "never":
        if newest:
            raise CheckpointError(f"{directory} holds checkpoints; --resume never needs a new run: set run.name=NAME")
        return None
    if resume == "auto":
        storage.sweep(directory)
        found = storage.newest(directory, lambda text: print(text, file=sys.stderr, flush=True))
        if newest and found is None:
            raise CheckpointError(f"none of the checkpoints in {directory} is whole; to start anew set run.name=NAME")
        return found
    if newest and began_from(directory.parent, "auto") == str(Path(resume).resolve()):
        return choose_checkpoint(directory, "auto")  # the same command again
    if newest and Path(resume).resolve() != newest.resolve():
        raise CheckpointError(
            f"{directory} already holds checkpoints up to {newest.name}; to start from {resume} set run.name=NAME"
        )
    return Path(resume)


def began_from(run_dir: Path, resume: str) -> str:
    """The checkpoint that a run began from, as a whole path: `--resume DIR` at its first start; else empty."""
    if resume not in ("auto", "never"):
        return str(Path(resume).resolve())
    try:
        return str(read_json(run_dir / "run.json", 1 << 16)["began_from"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def resume_from(saved: Saved, trainer: Trainer, reals: ImageDataset, display: ProgressBar) -> None:
    """Puts the saved state into the trainer and says so. Raises CheckpointError if the images are others."""
    values, now = saved.state.values, trainer.accelerator.num_processes
    if values["data_digest"] != reals.manifest_digest:
        raise CheckpointError(
            f"{saved.path} was trained on other images than those in {trainer.config.data.path}; "
            "start a new run with run.name=NAME"
        )
    restore(trainer, saved.state)
    display.say(f"resumed from {saved.path}: {trainer.images_seen:,} images seen")
    if values["precision"] != trainer.accelerator.mixed_precision:
        display.say(
            f"changed since then: precision: {printable(values['precision'])} -> {trainer.accelerator.mixed_precision}"
        )
    for change in saved.changes:
        display.say(f"changed since then: {change}")
    if values["processes"] != now:
        batch = trainer.config.train.batch_size
        display.say(f"processes: {values['processes']} -> {now}; the global batch stays {batch}")
