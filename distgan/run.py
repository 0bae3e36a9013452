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
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from accelerate import Accelerator

import distgan
from distgan import checkpoint
from distgan.config import Config
from distgan.config_file import resume_changes, to_yaml
from distgan.data.loader import Reals
from distgan.data.prepare import ensure
from distgan.display import Display
from distgan.distributed import StopSignal, batch_rows, build_accelerator, gloo_group, on_main
from distgan.errors import CheckpointError, ConfigError, LaunchError, Stopped
from distgan.export import Description, save_generator
from distgan.files import atomic_path
from distgan.fit import Fit
from distgan.generator import Generator
from distgan.rng import Rows
from distgan.state import State, restore
from distgan.tracking import NullTracker, Tracker, git_revision, open_tracker
from distgan.trainer import Trainer
from distgan.wandb_run import choose_mode

PREPARE_MINUTES = 360.0  # a download may take long; the other processes wait


def run(config: Config, resume: str) -> None:
    """Trains, or goes on training, to the budget, and exports. resume: auto, never or a checkpoint's directory.

    Raises DistganError for what a user can mend, Stopped after a signal (everything is saved then).
    """
    accelerator, precision = build_accelerator(config)
    world, main = accelerator.num_processes, accelerator.is_main_process
    rows = batch_rows(config.train.batch_size, config.train.accumulation, accelerator.process_index, world)
    if accelerator.mixed_precision == "fp16" and config.loss.r1_gamma:
        raise ConfigError("loss.r1_gamma with fp16: the penalty's gradients underflow; use bf16, or loss.r1_gamma=0")
    with ExitStack() as stack:
        on_main(accelerator, lambda: stack.enter_context(locked(config.run_dir)) and None)
        on_main(accelerator, lambda: choose_mode(config.wandb) and None)  # a mistake there is better known before
        saved = load_saved(config, resume, accelerator)
        display = Display(config.total_steps * config.images_per_step, main)
        display.say(f"{config.run_dir}: {world} process(es) on {accelerator.device.type}, {precision}")
        reals = open_reals(config, accelerator, rows)
        display.say(describe_data(reals, config))
        trainer = Trainer(config, accelerator, rows, reals.size, len(reals.classes))
        if saved:
            resume_from(saved, trainer, reals, display)
        if trainer.steps >= config.total_steps:
            if main:
                export(trainer, reals)  # the last start may have been killed between its last checkpoint and this
            display.say(f"nothing to do: train.images={config.train.images} are seen; set more, or a new run.name")
        else:
            with StopSignal(accelerator, config.train.timeout_minutes) as stop:
                signum = train(config, trainer, reals, display, run_id_of(config.run_dir, saved, main), stop)
                stop.wait_for_all()
            if signum:
                accelerator.end_training()
                raise Stopped(
                    f"stopped by {signal.Signals(signum).name} at {trainer.images_seen:,} pictures; everything "
                    f"is saved in {config.run_dir}, the same command goes on from here",
                    signum,
                )
    accelerator.end_training()


def train(config: Config, trainer: Trainer, reals: Reals, display: Display, run_id: str, stop: StopSignal) -> int:
    """From the trainer's state to the end of the budget, and the export. Returns the signal that stopped it, or 0."""
    accelerator, run_dir, signum, exit_code = trainer.accelerator, config.run_dir, 0, 1
    main = accelerator.is_main_process
    facts = describe(config, reals, accelerator, run_id)
    tracker = open_run(config, trainer.images_seen, run_id, facts) if main else NullTracker()
    try:
        preview = reals.first(config.log.samples) if main else torch.empty(0)
        sampler = Generator(trainer.ema.network, describe_generator(trainer, reals), "", accelerator.device)
        signum = Fit(trainer, reals, tracker, display, facts, preview, sampler, stop).run()
        if main:
            exported, digest = export(trainer, reals)
            if not signum:
                tracker.artifact(exported, {"images_seen": trainer.images_seen, "weight_digest": digest})
        exit_code = 128 + signum if signum else 0
    finally:
        display.close()
        tracker.finish(exit_code)
    if not signum:
        display.say(
            f"done: {trainer.images_seen:,} pictures; see {run_dir}/samples and {run_dir}/curves.png\n"
            f"draw from the generator: distgan sample {run_dir}/generator.safetensors --seeds 0-63 --out grid.png"
        )
    return signum


def open_run(config: Config, images: int, run_id: str, facts: dict[str, Any]) -> Tracker | NullTracker:
    """Writes what a run directory begins with and opens its record. Raises LaunchError if it cannot be written."""
    try:
        write_text(config.run_dir / "config.yaml", to_yaml(config))
        write_text(config.run_dir / "run.json", json.dumps({"wandb_id": run_id}) + "\n")
        return open_tracker(config, start_images=images, run_id=run_id, description=facts, is_main=True)
    except OSError as error:
        raise LaunchError(f"run directory {config.run_dir} cannot be written: {error}; set run.dir") from None


def open_reals(config: Config, accelerator: Accelerator, rows: Rows) -> Reals:
    """The real pictures; where the configuration says so, one process per machine makes them first."""
    if config.data.prepare is not None:
        patient = gloo_group(accelerator, PREPARE_MINUTES)
        if accelerator.is_local_main_process:
            ensure(config.data.path, config.data.prepare, accelerator.is_local_main_process)
        if patient is not None:
            dist.barrier(group=patient)
    return Reals(config.data, config.run.seed, rows, accelerator.device, accelerator.is_main_process)


class Saved(NamedTuple):
    """A checkpoint that is whole and of this recipe."""

    path: Path
    state: State
    changes: list[str]
    """Harmless changes of the configuration since then."""


def load_saved(config: Config, resume: str, accelerator: Accelerator) -> Saved | None:
    """What to resume from, the same on every rank, or None to start anew. Raises CheckpointError."""
    path = on_main(accelerator, lambda: choose_checkpoint(config.run_dir / "checkpoints", resume))
    if path is None:
        return None
    state = State(*checkpoint.load(path))
    missing = {"config", "data_digest", "precision", "processes", "run_id"} - state.values.keys()
    if missing:
        raise CheckpointError(f"{path} is damaged: its state.json has no {', '.join(sorted(missing))}")
    harmless, refused = resume_changes(state.values["config"], config)
    if refused:
        raise CheckpointError(
            f"{path} was made with another recipe: {'; '.join(refused)}. "
            "Set these back, or start a new run with run.name=NAME"
        )
    return Saved(path, state, harmless)


def choose_checkpoint(directory: Path, resume: str) -> Path | None:
    """The checkpoint that `resume` means for a run whose checkpoints lie in `directory`. Raises CheckpointError."""
    existing = checkpoint.steps(directory)
    newest = directory / f"step-{existing[-1]:09d}" if existing else None
    if resume == "never":
        if newest:
            raise CheckpointError(f"{directory} holds checkpoints; --resume never needs a new run: set run.name=NAME")
        return None
    if resume == "auto":
        checkpoint.sweep(directory)
        found = checkpoint.newest(directory, lambda text: print(text, file=sys.stderr, flush=True))
        if newest and found is None:
            raise CheckpointError(f"none of the checkpoints in {directory} is whole; to start anew set run.name=NAME")
        return found
    if newest and Path(resume).resolve() != newest.resolve():
        raise CheckpointError(
            f"{directory} already holds checkpoints up to {newest.name}; to start from {resume} set run.name=NAME"
        )
    return Path(resume)


def resume_from(saved: Saved, trainer: Trainer, reals: Reals, display: Display) -> None:
    """Puts the saved state into the trainer and says so. Raises CheckpointError if the pictures are others."""
    values, now = saved.state.values, trainer.accelerator.num_processes
    if values["data_digest"] != reals.manifest_digest:
        raise CheckpointError(
            f"{saved.path} was trained on other pictures than those in {trainer.config.data.path}; "
            "start a new run with run.name=NAME"
        )
    restore(trainer, saved.state)
    display.say(f"resumed from {saved.path}: {trainer.images_seen:,} pictures seen")
    if values["precision"] != trainer.accelerator.mixed_precision:
        display.say(f"changed since then: precision: {values['precision']} -> {trainer.accelerator.mixed_precision}")
    for change in saved.changes:
        display.say(f"changed since then: {change}")
    if values["processes"] != now:
        batch = trainer.config.train.batch_size
        display.say(f"processes: {values['processes']} -> {now}; the global batch stays {batch}")


def export(trainer: Trainer, reals: Reals) -> tuple[Path, str]:
    """Writes the averaged generator to RUN/generator.safetensors; returns the path and the digest of its weights."""
    path = trainer.config.run_dir / "generator.safetensors"
    return path, save_generator(path, trainer.ema.network.state_dict(), describe_generator(trainer, reals))


def describe_generator(trainer: Trainer, reals: Reals) -> Description:
    """What the averaged generator's file says about it."""
    return Description.of(
        trainer.config,
        size=reals.size,
        class_names=reals.classes,
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


def run_id_of(run_dir: Path, saved: Saved | None, main: bool) -> str:
    """The W&B id of the run: from RUN/run.json, from its own checkpoint, or a new one."""
    try:
        return str(json.loads((run_dir / "run.json").read_text())["wandb_id"])
    except (OSError, ValueError, KeyError, TypeError):
        own = saved is not None and saved.path.resolve().parent == (run_dir / "checkpoints").resolve()
        return str(saved.state.values["run_id"]) if saved and own else secrets.token_hex(4) if main else ""


def write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text)


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Holds RUN/.lock. Raises LaunchError if another training holds it or RUN cannot be written."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        file = (run_dir / ".lock").open("a+")
    except OSError as error:
        raise LaunchError(f"run directory {run_dir} cannot be written: {error.strerror}; set run.dir") from None
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # POSIX: data workers do not inherit it
        except (BlockingIOError, PermissionError):
            file.seek(0)
            raise LaunchError(
                f"another training is writing to {run_dir} ({file.read().strip()}); set run.name, or, if these are "
                "processes of one launch, they do not know each other: start them with `accelerate launch --multi_gpu`"
            ) from None
        except OSError as error:
            print(
                f"WARNING: no file locks in {run_dir} ({error.strerror}): let only one training write there", flush=True
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield
