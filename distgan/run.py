"""One training run from configuration to exported generator: builds the parts, resumes, fits, exports, says what next.

The run directory: config.yaml, run.json (W&B id), metrics.jsonl, samples/, checkpoints/, curves.png,
generator.safetensors.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

import distgan
from distgan import checkpoint
from distgan.config import Config
from distgan.config_file import resume_changes, to_yaml
from distgan.data.loader import Reals
from distgan.data.prepare import ensure
from distgan.display import Display
from distgan.distributed import batch_rows, build_accelerator
from distgan.errors import CheckpointError, LaunchError, Stopped
from distgan.export import Description, save_generator
from distgan.files import atomic_path
from distgan.fit import Fit
from distgan.generator import Generator
from distgan.rng import Rows
from distgan.state import State, restore
from distgan.tracking import git_revision, open_tracker
from distgan.trainer import Trainer
from distgan.wandb_run import choose_mode


def run(config: Config, resume: str) -> None:
    """Trains, or goes on training, to the budget, and exports. resume: auto, never or a checkpoint's directory.

    Raises DistganError for what a user can mend, Stopped after a signal (everything is saved then).
    """
    accelerator, precision = build_accelerator(config)
    world, main = accelerator.num_processes, accelerator.is_main_process
    rows = batch_rows(config.train.batch_size, config.train.accumulation, accelerator.process_index, world)
    with locked(config.run_dir, main):
        if main:
            choose_mode(config.wandb)  # a mistake there is better known before the work than after
        reals = open_reals(config, accelerator, rows)
        trainer = Trainer(config, accelerator, rows, reals.size, len(reals.classes))
        saved = find_checkpoint(config, resume, accelerator)
        display = Display(0, config.total_steps * config.images_per_step, main)
        display.say(f"{config.run_dir}: {world} process(es) on {accelerator.device.type}, {precision}")
        display.say(describe_data(reals, config))
        run_id = resume_from(saved, trainer, reals, config, display) or run_id_of(config.run_dir, main)
        facts = describe(config, reals, accelerator, run_id)
        if main:
            write_text(config.run_dir / "config.yaml", to_yaml(config))
            write_text(config.run_dir / "run.json", json.dumps({"wandb_id": run_id}) + "\n")
        tracker = open_tracker(config, start_images=trainer.images_seen, run_id=run_id, description=facts, is_main=main)
        exit_code = 1
        try:
            preview = reals.first(config.log.samples) if main else torch.empty(0)
            sampler = Generator(trainer.ema.network, describe_generator(trainer, reals), "", accelerator.device)
            fit = Fit(trainer, reals, tracker, display, facts, preview, sampler)
            signum = fit.run()
            if main:
                path = config.run_dir / "generator.safetensors"
                digest = save_generator(path, trainer.ema.network.state_dict(), describe_generator(trainer, reals))
                tracker.artifact(path, {"images_seen": trainer.images_seen, "weight_digest": digest})
            exit_code = 128 + signum if signum else 0
        finally:
            display.close()
            tracker.finish(exit_code)
            accelerator.end_training()
    if signum:
        again = "the same command goes on from here"
        raise Stopped(
            f"stopped by {signal.Signals(signum).name} at {trainer.images_seen:,} pictures, saved; {again}", signum
        )
    display.say(
        f"done: {trainer.images_seen:,} pictures; {config.run_dir}/samples, {config.run_dir}/curves.png\n"
        f"generator: {config.run_dir}/generator.safetensors; draw from it with "
        f"`distgan sample {config.run_dir}/generator.safetensors --seeds 0-63 --out grid.png`"
    )


def open_reals(config: Config, accelerator: Accelerator, rows: Rows) -> Reals:
    """The real pictures; where the configuration says so, one process per machine makes them first."""
    if config.data.prepare is not None:
        with accelerator.local_main_process_first():
            ensure(config.data.path, config.data.prepare, accelerator.is_local_main_process)
    return Reals(config.data, config.run.seed, rows, accelerator.device, accelerator.is_main_process)


def find_checkpoint(config: Config, resume: str, accelerator: Accelerator) -> Path | None:
    """What to resume from, the same on every rank, or None to start anew. Raises CheckpointError."""
    choice: list[Any] = [None]
    if accelerator.is_main_process:
        choice = [_choose(config.run_dir / "checkpoints", resume)]
    choice = broadcast_object_list(choice)
    if isinstance(choice[0], str):
        raise CheckpointError(choice[0])
    return choice[0]


def _choose(directory: Path, resume: str) -> Path | str | None:
    """A checkpoint, None, or the text of an error (which the other ranks have to hear as well)."""
    existing = checkpoint.steps(directory)
    if resume == "never":
        return f"{directory} holds checkpoints; --resume never needs a new run: set run.name" if existing else None
    if resume == "auto":
        checkpoint.sweep(directory)
        found = checkpoint.newest(directory, lambda text: print(text, flush=True))
        return (
            f"none of the checkpoints in {directory} is whole; to start anew set run.name"
            if existing and not found
            else found
        )
    path = Path(resume)
    if path.resolve().parent == directory.resolve() and checkpoint.NAME.match(path.name) and existing:
        newest = directory / f"step-{existing[-1]:09d}"
        if path.resolve() != newest.resolve():
            return f"{path} is not this run's newest checkpoint ({newest}); to go on from it in a new run set run.name"
    return path


def resume_from(path: Path | None, trainer: Trainer, reals: Reals, config: Config, display: Display) -> str | None:
    """Restores the trainer and says so. Returns the W&B id if the checkpoint is this run's. Raises CheckpointError."""
    if path is None:
        return None
    tensors, values = checkpoint.load(path)
    try:
        saved, data, world, run_id = (values[key] for key in ("config", "data_digest", "processes", "run_id"))
    except KeyError as error:
        raise CheckpointError(f"{path} is damaged: its state.json has no {error}") from None
    harmless, refused = resume_changes(saved, config)
    if refused:
        raise CheckpointError(
            f"{path} was made with another recipe: {'; '.join(refused)}. "
            "Set these back, or start a new run with run.name=NAME"
        )
    if data != reals.manifest_digest:
        raise CheckpointError(
            f"{path} was trained on other pictures than those in {config.data.path}; start a new run with run.name=NAME"
        )
    restore(trainer, State(tensors, values))
    display.say(f"resumed from {path}: {trainer.images_seen:,} pictures seen")
    for change in harmless:
        display.say(f"changed since then: {change}")
    if world != trainer.accelerator.num_processes:
        now = trainer.accelerator.num_processes
        display.say(f"processes: {world} -> {now}; the global batch stays {config.train.batch_size}")
    return run_id if path.resolve().parent == (config.run_dir / "checkpoints").resolve() else None


def describe_generator(trainer: Trainer, reals: Reals) -> Description:
    """What the averaged generator's file says about it."""
    return Description(
        generator=trainer.config.generator,
        size=reals.size,
        class_names=reals.classes,
        config=trainer.config.model_dump(mode="json"),
        images_seen=trainer.images_seen,
        data_digest=reals.manifest_digest,
    )


def describe(config: Config, reals: Reals, accelerator: Accelerator, run_id: str) -> dict[str, Any]:
    """Plain facts for every checkpoint and for W&B."""
    return {
        "config": config.model_dump(mode="json"),
        "run_id": run_id,
        "data_digest": reals.manifest_digest,
        "class_names": list(reals.classes),
        "size": reals.size,
        "processes": accelerator.num_processes,
        "precision": accelerator.mixed_precision,
        "git_revision": git_revision(),
        "versions": {"distgan": distgan.__version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def describe_data(reals: Reals, config: Config) -> str:
    what = f"{reals.pictures:,} pictures, {len(reals.classes)} class(es), {reals.size}x{reals.size}, {reals.mode}"
    text = f"{config.data.path}: {what}"
    return (
        f"{text}; {reals.left_out_per_epoch} left out per epoch, others each time" if reals.left_out_per_epoch else text
    )


def run_id_of(run_dir: Path, main: bool) -> str:
    """The W&B id of the run: from RUN/run.json, or a new one."""
    try:
        return str(json.loads((run_dir / "run.json").read_text())["wandb_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return secrets.token_hex(4) if main else ""


def write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text)


@contextmanager
def locked(run_dir: Path, main: bool) -> Iterator[None]:
    """Holds RUN/.lock on the main process. Raises LaunchError if another training holds it or RUN cannot be written."""
    if not main:
        yield
        return
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        file = (run_dir / ".lock").open("a+")
    except OSError as error:
        raise LaunchError(f"run directory {run_dir} cannot be written: {error.strerror}; set run.dir") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise LaunchError(
                f"another training is writing to {run_dir} ({file.read().strip()}); set run.name, or, if these are "
                "processes of one launch, they do not know each other: start them with `accelerate launch --multi_gpu`"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield
