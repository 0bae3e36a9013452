"""One training run from configuration to exported generator: builds the parts, fits, exports, says what comes next."""

from __future__ import annotations

import json
import platform
import signal
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator

import distgan
from distgan.config.load import to_yaml
from distgan.config.schema import Config
from distgan.data.dataset import ImageDataset
from distgan.data.prepare import ensure
from distgan.distributed.accelerator import batch_rows, build_accelerator, end
from distgan.distributed.collectives import barrier, gloo_group, on_main
from distgan.distributed.heartbeat import PEER_GONE, Heartbeat, lost
from distgan.distributed.stop import RULE, TIME, StopSignal
from distgan.metrics.evaluator import Evaluator
from distgan.training.checkpoint.manager import CheckpointManager
from distgan.training.checkpoint.resume import began_from, load_saved, resume_from
from distgan.training.consistency import check_same_data, check_same_recipe
from distgan.training.early_stopping import EarlyStopping
from distgan.training.ending import export_last, offer_best, stop_reason_text, summary, write_page
from distgan.training.evaluation import OnlineEvaluation, open_evaluator
from distgan.training.events import Reporter
from distgan.training.execution import why_unsupported
from distgan.training.export import LAST, Exporter
from distgan.training.loop import DIVERSITY_SAMPLES, TrainingLoop
from distgan.training.run_dir import locked, run_id_of, write_text
from distgan.training.tracking.progress_bar import ProgressBar
from distgan.training.tracking.tracker import NullTracker, Tracker, git_revision, open_tracker
from distgan.training.tracking.wandb_run import choose_mode
from distgan.training.trainer import Trainer
from distgan.training.watchdog import Watchdog
from distgan.utils.cpu import keep_freed_memory
from distgan.utils.errors import ConfigError, Halted, LaunchError, Stopped
from distgan.utils.rng import Rows

MAX_PATIENCE = 60.0  # seconds without a step before the silent ranks are named; less if the timeout is short
PREPARE_MINUTES = 360.0  # a download may take long; the other processes wait


def run(config: Config, resume: str) -> None:
    """Trains, or goes on training, to the budget, and exports. resume: auto, never or a checkpoint's directory.

    Raises DistganError for what a user can mend, LostProcess, Disagreement or Halted where training went wrong, Stopped
    after a signal (everything is saved then).
    """
    accelerator, precision = build_accelerator(config)
    if accelerator.device.type == "cpu":
        keep_freed_memory()
    rows = batch_rows(
        config.train.batch_size, config.train.accumulation, accelerator.process_index, accelerator.num_processes
    )
    if accelerator.mixed_precision == "fp16" and (penalties := config.loss.penalised):
        names = ", ".join(penalties)
        raise ConfigError(f"{names} with fp16: the penalty's gradients underflow; use bf16, or {penalties[0]}=0")
    with ExitStack() as stack:
        on_main(lambda: stack.enter_context(locked(config.run_dir)) and None)
        heartbeat = stack.enter_context(Heartbeat(accelerator, min(MAX_PATIENCE, 30 * config.train.timeout_minutes)))
        try:
            build_and_train(config, resume, accelerator, rows, precision, heartbeat)
        except RuntimeError as error:
            if accelerator.num_processes == 1 or not PEER_GONE.search(str(error)):
                raise
            raise lost(error, heartbeat.missing) from None
    end(accelerator)


def build_and_train(
    config: Config, resume: str, accelerator: Accelerator, rows: Rows, precision: str, heartbeat: Heartbeat
) -> None:
    """All that is between the launch and the end, on this rank."""
    world, main = accelerator.num_processes, accelerator.is_main_process
    check_same_recipe(accelerator, config)
    on_main(lambda: choose_mode(config.wandb) and None)  # a mistake there is better known before
    saved = load_saved(config, resume, accelerator)
    display = ProgressBar(config.total_steps * config.images_per_step, main)
    display.say(f"{config.run_dir}: {world} process(es) on {accelerator.device.type}, {precision}")
    reals = open_reals(config, accelerator, rows)
    check_same_data(accelerator, reals.manifest_digest, reals.mode)
    display.say(describe_data(reals, config))
    if config.train.graphs == "on" and (why := why_unsupported(config.train, accelerator.device, world)):
        display.say(f"train.graphs=on has no effect: {why}")
    trainer = Trainer(config, accelerator, rows, reals.size, len(reals.classes))
    watchdog, best, exporter = Watchdog(config.watchdog), EarlyStopping(config), Exporter(trainer, reals)
    if saved:
        resume_from(saved, trainer, reals, display)
        watchdog.restore(saved.state.values)
        if saved.is_of(config.run_dir):  # else the best of another run, which has its best.safetensors
            best.restore(saved.state.values)
    if trainer.steps >= config.total_steps or best.exhausted:
        # the last start may have been killed between its last checkpoint and this
        on_main(lambda: exporter.write(LAST, best.scores_of(trainer.images_seen)))
        display.say(f"nothing to do: {stop_reason_text(trainer, best, 0)}")
        return
    evaluator = open_evaluator(config, exporter, best)
    with StopSignal(config.train.timeout_minutes) as stop:
        identity = {
            "wandb_id": run_id_of(config.run_dir, saved, main),
            "began_from": began_from(config.run_dir, resume),
        }
        made = Made(trainer, reals, display, watchdog, best, exporter, evaluator, stop, heartbeat)
        try:
            reason, whole = train(made, identity)
            if reason == RULE:
                raise Halted(
                    f"{config.checkpoint.max_failures} checkpoint(s) in a row could not be written "
                    f"(checkpoint.max_failures); the older ones in {config.run_dir} are untouched"
                )
        except Halted:
            write_page(exporter, display)
            raise
        if reason in (0, TIME):
            write_page(exporter, display)
            display.say(summary(trainer, best, reason))
        stop.wait_for_all()
    if reason not in (0, TIME):
        what = "everything is saved" if whole else "bad numbers of the last steps are not saved, all before them is"
        raise Stopped(
            f"stopped by {signal.Signals(reason).name} at {trainer.images_seen:,} images; {what} in "
            f"{config.run_dir}, the same command goes on from here",
            reason,
        )


@dataclass(frozen=True)
class Made:
    """What one training is made of, on this rank."""

    trainer: Trainer
    reals: ImageDataset
    display: ProgressBar
    watchdog: Watchdog
    best: EarlyStopping
    exporter: Exporter
    evaluator: Evaluator | None
    stop: StopSignal
    heartbeat: Heartbeat


def train(made: Made, identity: dict[str, str]) -> tuple[int, bool]:
    """From the trainer's state to the end of the budget, the time or the patience, and the export.

    identity: for RUN/run.json. Returns why it ended (0: budget or patience; TIME, RULE or a signal's number), and
    whether the last step is saved.
    """
    trainer, reals, display, best = made.trainer, made.reals, made.display, made.best
    config, accelerator, exit_code = trainer.config, trainer.accelerator, 1
    facts = describe(config, reals, accelerator, identity["wandb_id"])
    if made.evaluator:
        facts["protocol"] = made.evaluator.protocol.model_dump(mode="json")
    opened: list[Tracker | NullTracker] = []
    on_main(lambda: opened.append(open_run(config, trainer.images_seen, identity, facts)))
    tracker = opened[0] if opened else NullTracker()
    report = Reporter(display, tracker, trainer)
    keeper = CheckpointManager(trainer, made.watchdog, best, facts, report)
    try:
        images = max(config.log.samples, DIVERSITY_SAMPLES)
        preview = reals.first(images) if accelerator.is_main_process else torch.empty(0)
        scoring = OnlineEvaluation(made.evaluator, made.exporter, best, report) if made.evaluator else None
        sampler = made.exporter.generator()
        judges = made.watchdog, scoring
        fit = TrainingLoop(
            trainer, reals, tracker, display, report, keeper, *judges, preview, sampler, made.stop, made.heartbeat
        )
        reason = fit.run()
        stopping = reason not in (0, TIME)
        if not fit.saved and not stopping:
            raise Halted("the weights are NaN or infinite: the last checkpoint is from before, nothing is exported")
        if not stopping:
            offer_best(made.exporter, report)
        if fit.saved:
            export_last(made.exporter, best, report, stopping)
        exit_code = Halted.exit_code if reason == RULE else 128 + reason if stopping else 0
    except Halted:
        offer_best(made.exporter, report)
        exit_code = Halted.exit_code
        raise
    finally:
        keeper.writer.wait()  # before the run directory is given up
        display.close()
        tracker.finish(exit_code)
    return reason, fit.saved


def open_run(config: Config, images: int, identity: dict[str, str], facts: dict[str, Any]) -> Tracker | NullTracker:
    """Writes what a run directory begins with and opens its record. Raises LaunchError if it cannot be written."""
    try:
        write_text(config.run_dir / "config.yaml", to_yaml(config))
        write_text(config.run_dir / "run.json", json.dumps(identity) + "\n")
        return open_tracker(config, start_images=images, run_id=identity["wandb_id"], description=facts, is_main=True)
    except OSError as error:
        raise LaunchError(f"run directory {config.run_dir} cannot be written: {error}; set run.dir") from None


def open_reals(config: Config, accelerator: Accelerator, rows: Rows) -> ImageDataset:
    """The real images; where the configuration says so, one process per machine makes them first."""
    if config.data.prepare is not None:
        patient = gloo_group(PREPARE_MINUTES)
        if accelerator.is_local_main_process:
            ensure(config.data.path, config.data.prepare, accelerator.is_local_main_process)
        if patient is not None:
            barrier(patient)
    return ImageDataset(config.data, config.run.seed, rows, accelerator.device, accelerator.is_main_process)


def describe(config: Config, reals: ImageDataset, accelerator: Accelerator, run_id: str) -> dict[str, Any]:
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


def describe_data(reals: ImageDataset, config: Config) -> str:
    what = f"{reals.images:,} images, {len(reals.classes)} class(es), {reals.size}x{reals.size}, {reals.mode}"
    text = f"{config.data.path}: {what}"
    return (
        f"{text}; {reals.left_out_per_epoch} left out per epoch, others each time" if reals.left_out_per_epoch else text
    )
