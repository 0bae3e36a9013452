"""Chooses the checkpoint that a start goes on from, checks it, and puts it into the trainer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from distgan.config.load import resume_changes
from distgan.config.schema import Config
from distgan.distributed.collectives import on_main
from distgan.training.checkpoint import storage
from distgan.training.checkpoint.state import restore
from distgan.training.checkpoint.storage import State
from distgan.training.trainer import Trainer
from distgan.utils.errors import CheckpointError
from distgan.utils.log import log
from distgan.utils.safe_io import printable, read_json

NEW_RUN = "start a new run with run.name=NAME"
NO_RESUME = "leave --resume out to start from the beginning"  # for a run that has no checkpoint of its own
FACTS = {  # values that every checkpoint has, and their types
    "config": dict,
    "data_digest": str,
    "precision": str,
    "processes": int,
    "run_id": str,
    "g": dict,
    "d": dict,
}


class Saved(NamedTuple):
    """A complete checkpoint of this recipe."""

    path: Path
    state: State
    changes: list[str]
    """Allowed changes of the configuration since then."""

    def is_of(self, run_dir: Path) -> bool:
        """True for a checkpoint of this run; false where a new run begins from another one's."""
        return is_of(self.path, run_dir)


class Refusal(NamedTuple):
    """A reason not to go on from a checkpoint."""

    text: str
    fix: str

    def __str__(self) -> str:
        return f"{self.text}; {self.fix}"


def is_of(path: Path, run_dir: Path) -> bool:
    """Whether a checkpoint is one of this run's own."""
    return os.path.dirname(os.path.realpath(path)) == os.path.realpath(run_dir / "checkpoints")


def load_saved(config: Config, resume: str) -> Saved | None:
    """The checkpoint to resume from, the same on every rank, or None for a fresh start. Raises CheckpointError."""
    path = on_main(lambda: choose_checkpoint(config.run_dir / "checkpoints", resume))
    if path is None:
        return None
    state = storage.load(path)
    _check_init(path, state.values, config)
    refusals, changes = check_resume(path, state.values, config, None)
    for refusal in refusals:
        raise CheckpointError(str(refusal))
    return Saved(path, state, changes)


def _check_init(path: Path, values: Mapping[str, Any], config: Config) -> None:
    """Raises CheckpointError where a new run is given two beginnings: another run's checkpoint, and `init.from`."""
    saved = values.get("config")
    before = saved.get("init", {}) if isinstance(saved, dict) else {}
    if config.init.from_ is None or is_of(path, config.run_dir) or config.init.model_dump(mode="json") == before:
        return
    raise CheckpointError(
        f"--resume {path} goes on with another run's training, and init.from={config.init.from_} begins a new one: "
        "leave one of them out"
    )


def check_resume(
    path: Path, values: Mapping[str, Any], config: Config, data_digest: str | None
) -> tuple[list[Refusal], list[str]]:
    """Reasons not to go on from a checkpoint, and the allowed changes since then.

    values: of the checkpoint at `path`; data_digest: of the manifest of the images, None where it is not known yet.
    """
    without = NEW_RUN if is_of(path, config.run_dir) else NO_RESUME
    if missing := [name for name, kind in FACTS.items() if type(values.get(name)) is not kind]:
        return [Refusal(f"{path} is damaged: its state.json has no {', '.join(missing)}", without)], []
    changes, refused = resume_changes(values["config"], config)
    refusals = []
    if refused:
        fix = f"set these back, or {without}"
        refusals.append(Refusal(f"{path} was made with another recipe: {'; '.join(refused)}", fix))
    if data_digest is not None and values["data_digest"] != data_digest:
        refusals.append(Refusal(f"{path} was trained on other images than those in {config.data.path}", without))
    return refusals, changes


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
        found = storage.newest(directory, lambda text: log.warning("%s", text))
        if newest and found is None:
            raise CheckpointError(
                f"none of the checkpoints in {directory} is complete; for a fresh start set run.name=NAME"
            )
        return found
    if newest and began_from(directory.parent, "auto") == os.path.realpath(resume):
        return choose_checkpoint(directory, "auto")  # the same command again
    given = checkpoint_at(Path(resume))
    if newest and os.path.realpath(resume) != os.path.realpath(newest):
        raise CheckpointError(
            f"{directory} already holds checkpoints up to {newest.name}; to start from {resume} set run.name=NAME"
        )
    return given


def checkpoint_at(path: Path) -> Path:
    """The checkpoint's directory that --resume names, complete or not. Raises CheckpointError for anything else."""
    if path.is_dir() and (storage.NAME.match(path.name) or (path / storage.MANIFEST).is_file()):
        return path
    if path.is_dir():
        what = "a run" if (path / "checkpoints").is_dir() else "a directory"
    elif path.is_file():
        what = "a file of weights without a state of training" if path.suffix == ".safetensors" else "a file"
    else:
        what = "nothing that is there"
    raise CheckpointError(f"--resume {path} is {what}, not a checkpoint's directory; give {_nearest(path)}")


def _nearest(path: Path) -> str:
    """The checkpoint's directory that somebody may have meant, or how one is called."""
    inside = path.parent if path.is_file() else path
    if path.is_file() and (inside / storage.MANIFEST).is_file():
        return str(inside)
    for directory in (inside, inside / "checkpoints", inside.parent):
        if there := storage.steps(directory):
            return str(directory / f"step-{there[-1]:09d}")
    return "RUN/checkpoints/step-..."


def began_from(run_dir: Path, resume: str) -> str:
    """The checkpoint that a run began from, as an absolute path: `--resume DIR` at its first start; else empty."""
    if resume not in ("auto", "never"):
        return os.path.realpath(resume)
    return recorded(run_dir, "began_from")


def recorded(run_dir: Path, name: str) -> str:
    """A fact that RUN/run.json holds as text; empty where it does not."""
    try:
        return str(read_json(run_dir / "run.json", 1 << 16)[name])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def resume_from(saved: Saved, config: Config, trainer: Trainer, data_digest: str) -> list[str]:
    """Puts the saved state into the trainer. Returns sentences about it. Raises CheckpointError for other images."""
    values, accelerator = saved.state.values, trainer.accelerator
    for refusal in check_resume(saved.path, values, config, data_digest)[0]:
        raise CheckpointError(str(refusal))
    restore(trainer, saved.state)
    lines = [f"resumed from {saved.path}: {trainer.images_seen:,} images seen"]
    if values["precision"] != (precision := accelerator.mixed_precision):
        lines.append(f"changed since then: precision: {printable(values['precision'])} -> {precision}")
    lines += [f"changed since then: {change}" for change in saved.changes]
    if values["processes"] != (now := accelerator.num_processes):
        batch = config.train.batch_size
        lines.append(f"processes: {values['processes']} -> {now}; the global batch stays {batch}")
    return lines
