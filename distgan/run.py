"""One training run from configuration to exported generator: builds the parts, fits, exports, says what comes next."""

from __future__ import annotations

import json
import platform
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator

import distgan
from distgan.config import Config
from distgan.config_file import to_yaml
from distgan.data.loader import Reals
from distgan.data.prepare import ensure
from distgan.display import Display
from distgan.distributed import RULE, StopSignal, batch_rows, build_accelerator, gloo_group, on_main
from distgan.errors import ConfigError, DistganError, Halted, LaunchError, Stopped
from distgan.export import Description, save_generator
from distgan.fit import DIVERSITY_SAMPLES, Fit
from distgan.generator import Generator
from distgan.guard import check_same_data, check_same_recipe
from distgan.keeper import Keeper
from distgan.presence import PEER_GONE, Presence, lost
from distgan.reporter import Reporter
from distgan.resume import began_from, load_saved, resume_from
from distgan.rng import Rows
from distgan.run_dir import locked, run_id_of, write_text
from distgan.tracking import NullTracker, Tracker, git_revision, open_tracker
from distgan.trainer import Trainer
from distgan.wandb_run import choose_mode
from distgan.watchdog import Watchdog

MOST_PATIENCE = 60.0  # seconds without a step before the silent ranks are named; less if the timeout is short
PREPARE_MINUTES = 360.0  # a download may take long; the other processes wait


def run(config: Config, resume: str) -> None:
    """Trains, or goes on training, to the budget, and exports. resume: auto, never or a checkpoint's directory.

    Raises DistganError for what a user can mend, LostProcess, Disagreement or Halted where training went wrong, Stopped
    after a signal (everything is saved then).
    """
    accelerator, precision = build_accelerator(config)
    rows = batch_rows(
        config.train.batch_size, config.train.accumulation, accelerator.process_index, accelerator.num_processes
    )
    if accelerator.mixed_precision == "fp16" and config.loss.r1_gamma:
        raise ConfigError("loss.r1_gamma with fp16: the penalty's gradients underflow; use bf16, or loss.r1_gamma=0")
    with ExitStack() as stack:
        on_main(accelerator, lambda: stack.enter_context(locked(config.run_dir)) and None)
        presence = stack.enter_context(Presence(accelerator, min(MOST_PATIENCE, 30 * config.train.timeout_minutes)))
        try:
            build_and_train(config, resume, accelerator, rows, precision, presence)
        except RuntimeError as error:
            if accelerator.num_processes == 1 or not PEER_GONE.search(str(error)):
                raise
            raise lost(error, presence.missing) from None
    accelerator.end_training()


def build_and_train(
    config: Config, resume: str, accelerator: Accelerator, rows: Rows, precision: str, presence: Presence
) -> None:
    """All that is between the launch and the end, on this rank."""
    world, main = accelerator.num_processes, accelerator.is_main_process
    check_same_recipe(accelerator, config)
    on_main(accelerator, lambda: choose_mode(config.wandb) and None)  # a mistake there is better known before
    saved = load_saved(config, resume, accelerator)
    display = Display(config.total_steps * config.images_per_step, main)
    display.say(f"{config.run_dir}: {world} process(es) on {accelerator.device.type}, {precision}")
    reals = open_reals(config, accelerator, rows)
    check_same_data(accelerator, reals.manifest_digest, reals.mode)
    display.say(describe_data(reals, config))
    trainer = Trainer(config, accelerator, rows, reals.size, len(reals.classes))
    watchdog = Watchdog(config.watchdog)
    if saved:
        resume_from(saved, trainer, reals, display)
        watchdog.restore(saved.state.values)
    if trainer.steps >= config.total_steps:
        # the last start may have been killed between its last checkpoint and this
        on_main(accelerator, lambda: export(trainer, reals))
        display.say(f"nothing to do: train.images={config.train.images} are seen; set more, or a new run.name")
        return
    with StopSignal(accelerator, config.train.timeout_minutes) as stop:
        identity = {
            "wandb_id": run_id_of(config.run_dir, saved, main),
            "began_from": began_from(config.run_dir, resume),
        }
        reason, whole = train(trainer, reals, display, watchdog, identity, stop, presence)
        stop.wait_for_all()
    if reason == RULE:
        raise Halted(
            f"{config.checkpoint.max_failures} checkpoint(s) in a row could not be written (checkpoint.max_failures); "
            f"the older ones in {config.run_dir} are untouched"
        )
    if reason:
        what = "everything is saved" if whole else "bad numbers of the last steps are not saved, all before them is"
        raise Stopped(
            f"stopped by {signal.Signals(reason).name} at {trainer.images_seen:,} pictures; {what} in "
            f"{config.run_dir}, the same command goes on from here",
            reason,
        )


def train(
    trainer: Trainer,
    reals: Reals,
    display: Display,
    watchdog: Watchdog,
    identity: dict[str, str],
    stop: StopSignal,
    presence: Presence,
) -> tuple[int, bool]:
    """From the trainer's state to the end of the budget, and the export.

    identity: for RUN/run.json. Returns the reason to stop before it, or 0, and whether the last step is saved.
    """
    config, accelerator, reason, exit_code = trainer.config, trainer.accelerator, 0, 1
    facts = describe(config, reals, accelerator, identity["wandb_id"])
    opened: list[Tracker | NullTracker] = []
    on_main(accelerator, lambda: opened.append(open_run(config, trainer.images_seen, identity, facts)))
    tracker = opened[0] if opened else NullTracker()
    report = Reporter(display, tracker, trainer)
    keeper = Keeper(trainer, watchdog, facts, report)
    try:
        pictures = max(config.log.samples, DIVERSITY_SAMPLES)
        preview = reals.first(pictures) if accelerator.is_main_process else torch.empty(0)
        sampler = Generator(trainer.ema.network, describe_generator(trainer, reals), "", accelerator.device)
        fit = Fit(trainer, reals, tracker, display, report, keeper, watchdog, preview, sampler, stop, presence)
        reason = fit.run()
        if not fit.saved and not reason:
            raise Halted("the weights are NaN or infinite: the last checkpoint is from before, nothing is exported")
        if fit.saved:
            export_last(trainer, reals, tracker, report, bool(reason))
        exit_code = Halted.exit_code if reason == RULE else 128 + reason if reason else 0
    finally:
        keeper.writer.wait()  # before the run directory is given up
        display.close()
        tracker.finish(exit_code)
    if not reason:
        place = config.run_dir
        display.say(
            f"done: {trainer.images_seen:,} pictures; see {place}/samples and {place}/curves.png\n"
            f"draw from the generator: distgan sample {place}/generator.safetensors --seeds 0-63 --out grid.png"
        )
    return reason, fit.saved


def export_last(
    trainer: Trainer, reals: Reals, tracker: Tracker | NullTracker, report: Reporter, stopping: bool
) -> None:
    """Exports; stopping: a failure is only said, since everything is saved. Else raises ExportError on every rank."""
    try:
        exported, digest = on_main(trainer.accelerator, lambda: export(trainer, reals))
    except DistganError as error:
        if not stopping:
            raise
        report("export", f"{error}; the next start exports")
    else:
        if not stopping:
            tracker.artifact(exported, {"images_seen": trainer.images_seen, "weight_digest": digest})


def open_run(config: Config, images: int, identity: dict[str, str], facts: dict[str, Any]) -> Tracker | NullTracker:
    """Writes what a run directory begins with and opens its record. Raises LaunchError if it cannot be written."""
    try:
        write_text(config.run_dir / "config.yaml", to_yaml(config))
        write_text(config.run_dir / "run.json", json.dumps(identity) + "\n")
        return open_tracker(config, start_images=images, run_id=identity["wandb_id"], description=facts, is_main=True)
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
