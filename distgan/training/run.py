"""One training run from configuration to exported generator: builds the parts, trains, exports, reports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from accelerate import Accelerator

from distgan.config.load import to_yaml
from distgan.config.schema import Config
from distgan.data.dataset import ImageDataset
from distgan.data.location import open_data_set
from distgan.data.prepare import ensure
from distgan.data.shards.manifest import MANIFEST
from distgan.distributed.accelerator import build_accelerator, leave_group, overruled, own_rows, own_settings
from distgan.distributed.collectives import DOWNLOAD_MINUTES, barrier, gloo_group, in_group, on_main
from distgan.distributed.heartbeat import PEER_GONE, Heartbeat, lost_process
from distgan.distributed.signals import Signals
from distgan.distributed.stop import StopReason, StopSignal
from distgan.metrics.evaluator import Evaluator
from distgan.metrics.protocol import Scores
from distgan.training.callbacks import Callback, Callbacks
from distgan.training.checkpoint.manager import CheckpointManager
from distgan.training.checkpoint.resume import Saved, began_from, load_saved, recorded, resume_from
from distgan.training.consistency import ConsistencyCheck, check_same_data, check_same_recipe
from distgan.training.early_stopping import EarlyStopping
from distgan.training.evaluation import OnlineEvaluation, open_evaluator
from distgan.training.execution import why_unsupported
from distgan.training.export import Exporter
from distgan.training.facts import describe, describe_data, record_of
from distgan.training.finish import end_reason, export_last, stop_reason_text, summary, upload_best, write_page
from distgan.training.init import begin_from, check_there
from distgan.training.loop import Intervals, Outcome, Peers, TrainingLoop
from distgan.training.monitors import Monitors
from distgan.training.penalties import check_penalties
from distgan.training.run_dir import RunLock, has_ended, keep_directory, locked, mark_ended, run_id_of, write_text
from distgan.training.samples import SampleGrid
from distgan.training.session import Process, Session
from distgan.training.telemetry import Telemetry
from distgan.training.tracking.backend import TrackerBackend
from distgan.training.tracking.progress_bar import ProgressBar
from distgan.training.tracking.tracker import Tracker, check_trackers, open_machine, open_tracker
from distgan.training.trainer import Trainer
from distgan.training.watchdog import Watchdog
from distgan.utils.cpu import keep_freed_memory
from distgan.utils.errors import CallbackError, Halted, LaunchError, Stopped, forget_variables
from distgan.utils.log import kept_lines, log

MAX_PATIENCE = 60.0  # seconds without a step before the silent ranks are named; less if the timeout is short


class Ended(NamedTuple):
    """The end of a training, the same on every rank."""

    reason: str
    """budget: train.images are seen; patience: best.patience is used up; time_limit: train.seconds are; callback: one
    asked for it."""
    scores: Scores | None
    """Of the last evaluation."""
    is_main: bool
    """Whether this is the main process."""


@own_settings()
def run(config: Config, resume: str, signals: Signals, callbacks: Sequence[Callback] = ()) -> Ended:
    """Trains, or goes on training, to the budget, and exports. resume: auto, never or a checkpoint's directory.

    signals: what this process receives.
    Raises DistganError for a user error, LostProcess, Disagreement or Halted where training went wrong, CallbackError
    where a callback did, Stopped after a signal (everything is saved then).
    """
    others_group = in_group()
    accelerator, precision = build_accelerator(config.train)
    try:
        ended = meet_and_train(config, resume, accelerator, precision, signals, callbacks)
    except (Stopped, CallbackError) as error:  # an orderly end, on every rank
        if error.everywhere:
            forget_variables(error)  # they hold the trainer, and the caller may keep the error
            leave_group(accelerator, destroy=not others_group)
        raise
    leave_group(accelerator, destroy=not others_group)
    return ended


def meet_and_train(
    config: Config,
    resume: str,
    accelerator: Accelerator,
    precision: str,
    signals: Signals,
    callbacks: Sequence[Callback],
) -> Ended:
    """Checks that the processes agree on what to do, and does it. precision: a line about it. Errors as of `run`."""
    if accelerator.device.type == "cpu":
        keep_freed_memory()
    rows = own_rows(config.train, accelerator)
    check_penalties(config, accelerator.mixed_precision)
    world, device = accelerator.num_processes, accelerator.device.type
    with ExitStack() as stack:
        stack.enter_context(kept_lines())
        locks: list[RunLock] = []  # on the main process
        missing = lost_early
        try:
            patience = min(MAX_PATIENCE, 30 * config.train.timeout_minutes)
            heartbeat = stack.enter_context(Heartbeat(accelerator, patience))
            missing, signals.lost_ranks = heartbeat.missing, heartbeat.lost_at_a_signal
            on_main(lambda: locks.append(stack.enter_context(locked(config.run_dir))))
            check_same_recipe(accelerator, config)
            on_main(lambda: check_trackers(config))
            log.info("%s: %d process(es) on %s, %s", config.run_dir, world, device, precision)
            for line in overruled(config.train):
                log.info("%s", line)
            process = Process(accelerator, rows, heartbeat, signals, locks[0] if locks else None, callbacks)
            return train(config, resume, process)
        except Exception as error:
            signals.end()  # a launcher's SIGTERM may follow: it must not end this process before its report
            if world == 1 or not (isinstance(error, RuntimeError) and PEER_GONE.search(str(error))):
                raise
            raise lost_process(error, missing) from None


def lost_early() -> str:
    """What is known of a process that is lost before it has written a sign of life."""
    return "another process has ended while the processes met, before any of them knew the others"


def train(config: Config, resume: str, process: Process) -> Ended:
    """Trains from the newest checkpoint, or from the start, to the end, on this rank."""
    saved = load_saved(config, resume)
    if not saved:
        on_main(lambda: check_there(config.init))
    session = open_session(config, process, saved)
    trainer, best = session.trainer, session.monitors.early_stopping
    evaluator = None
    if session.monitors.interrupted or (trainer.steps < config.total_steps and not best.exhausted):
        evaluator = open_evaluator(config.evaluate, config.data, session.exporter, best)
    elif on_main(lambda: has_ended(config.run_dir, trainer.images_seen)):
        log.info("nothing to do: %s", stop_reason_text(config, trainer, best, StopReason.NONE))
        return ended(session, StopReason.NONE)
    identity = {
        "wandb_id": on_main(lambda: run_id_of(config.run_dir, saved)),
        "began_from": began_from(config.run_dir, resume),
        "init_from": session.init_path or recorded(config.run_dir, "init_from"),
        "directory": str(config.run_dir.resolve()),
    }
    stop = StopSignal(config.train.timeout_minutes, process.signals)
    callbacks = Callbacks(process.callbacks, session.exporter, stop, process.heartbeat)
    process.signals.begin()
    outcome = train_and_report(session, evaluator, identity, stop, callbacks)
    if not callbacks.failed():
        callbacks("on_end", reason=end_reason(config, trainer, outcome.reason), scores=best.memory.last)
    stop.wait_for_all()
    process.signals.end()
    if outcome.reason.urgent and outcome.reason != StopReason.FAILED:
        raise stopped(session, outcome)
    callbacks.check(outcome.saved)
    return ended(session, outcome.reason)


def ended(session: Session, reason: StopReason) -> Ended:
    """What the caller learns of a training that is over."""
    scores = session.monitors.early_stopping.memory.last
    is_main = session.process.accelerator.is_main_process
    return Ended(end_reason(session.config, session.trainer, reason), scores, is_main)


def open_session(config: Config, process: Process, saved: Saved | None) -> Session:
    """Opens the data, builds the trainer, and puts the saved state into it."""
    accelerator, rows = process.accelerator, process.rows
    prepare_data(config, accelerator)
    reals = ImageDataset(config.data, config.run.seed, rows, accelerator.device, accelerator.is_main_process)
    check_same_data(accelerator, reals.manifest_digest, reals.mode)
    log.info("%s", describe_data(reals, config))
    unsupported = why_unsupported(config.train, accelerator.device, accelerator.num_processes)
    if config.train.graphs == "on" and unsupported:
        log.info("train.graphs=on has no effect: %s", unsupported)
    trainer = Trainer(config, accelerator, rows, reals.size, reals.class_counts, reals.channels)
    monitors = Monitors(Watchdog(config.watchdog), EarlyStopping(config.best, config.evaluate))
    init_path = ""
    if config.init.from_ is not None and not saved:
        init_path, taken = begin_from(config, trainer, reals.classes)
        for line in taken:
            log.info("%s", line)
    if saved:
        for line in resume_from(saved, config, trainer, reals.manifest_digest):
            log.info("%s", line)
        monitors.restore(saved.state, accelerator.device, same_run=saved.is_of(config.run_dir))
    exporter = Exporter(config, trainer, reals)
    exporter.check()
    return Session(config, process, trainer, reals, monitors, exporter, init_path)


def prepare_data(config: Config, accelerator: Accelerator) -> None:
    """Makes the data set, or looks at shards without a manifest: one process per machine, while the others wait.

    The main process makes it first: where all machines share a disk, the others find it there.
    """
    path, source = config.data.path, config.data.prepare
    if source is None and isinstance(path, Path) and (path / MANIFEST).exists():
        return
    patient = gloo_group(DOWNLOAD_MINUTES)
    if source is None:
        if accelerator.is_local_main_process:
            open_data_set(config.data, accelerator.is_main_process)
        barrier(patient)
        return
    for its_turn in (accelerator.is_main_process, accelerator.is_local_main_process):
        if its_turn:
            ensure(path, source)
        barrier(patient)


def train_and_report(
    session: Session, evaluator: Evaluator | None, identity: dict[str, str], stop: StopSignal, callbacks: Callbacks
) -> Outcome:
    """Opens the record, runs the loop, exports the generators, writes the page, and closes the record.

    identity: for RUN/run.json. Raises Halted where a rule ends training.
    """
    config, trainer, best = session.config, session.trainer, session.monitors.early_stopping
    facts, exit_code, with_page = describe(session, identity["wandb_id"]), 1, False
    if evaluator:
        facts["protocol"] = evaluator.protocol.model_dump(mode="json")
    with ExitStack() as at_the_end:
        telemetry = open_telemetry(session, identity, record_of(session, facts))
        at_the_end.callback(lambda: telemetry.tracker.finish(exit_code))
        at_the_end.callback(telemetry.display.close)
        checkpoints = open_checkpoints(session, facts, telemetry)
        at_the_end.callback(checkpoints.writer.wait)  # before the run directory is given up
        try:
            outcome = build_loop(session, evaluator, checkpoints, telemetry, stop, callbacks).run()
            export(session, telemetry, outcome)
            check_rule(config, outcome)
        except Halted as error:
            upload_best(session.exporter, telemetry)
            telemetry.note("end", str(error), alert=True)
            write_page(config, telemetry)
            exit_code = Halted.exit_code
            raise
        if not outcome.reason.urgent:
            telemetry.note("end", stop_reason_text(config, trainer, best, outcome.reason), alert=True)
            with_page = write_page(config, telemetry)
        else:
            telemetry.note("end", f"stopped by {outcome.reason}; the same command goes on from here", alert=True)
        exit_code = outcome.reason.exit_code
    if not outcome.reason.urgent:
        log.info("%s", summary(config, trainer, best, outcome.reason, with_page))
        if with_page:
            on_main(lambda: mark_ended(config.run_dir, trainer.images_seen))
    return outcome


def check_rule(config: Config, outcome: Outcome) -> None:
    """Raises Halted if checkpoints that could not be written have ended training."""
    if outcome.reason == StopReason.RULE:
        raise Halted(
            f"{config.checkpoint.max_failures} checkpoint(s) in a row could not be written "
            f"(checkpoint.max_failures); the older ones in {config.run_dir} are untouched"
        )


def open_telemetry(session: Session, identity: dict[str, str], facts: dict[str, Any]) -> Telemetry:
    """Opens the record of the run: a tracker on the main process; elsewhere, at most another machine's part in it.

    facts: of `record_of`.
    """
    config, trainer, main = session.config, session.trainer, session.trainer.accelerator.is_main_process
    opened: list[Tracker] = []
    on_main(lambda: opened.append(open_record(session, identity, facts)))
    display, lock = ProgressBar(config.total_steps * config.images_per_step, main), session.process.lock
    other = session.trainer.accelerator.is_local_main_process and not main  # the first process of another machine
    shared = on_main(lambda: opened[0].shared_run())
    elsewhere = open_machine(config, identity["wandb_id"], shared) if other else TrackerBackend()
    return Telemetry(
        display,
        opened[0] if opened else elsewhere,
        lambda: trainer.images_seen,
        lambda: "" if lock is None else keep_directory(lock, lambda: write_identity(config, identity)),
    )


def write_identity(config: Config, identity: dict[str, str]) -> None:
    """Writes the files that say which run a directory belongs to."""
    write_text(config.run_dir / "config.yaml", to_yaml(config))
    write_text(config.run_dir / "run.json", json.dumps(identity) + "\n")
    (config.run_dir / "samples").mkdir(exist_ok=True)


def open_record(session: Session, identity: dict[str, str], facts: dict[str, Any]) -> Tracker:
    """Writes the first files of a run directory. Raises LaunchError if it cannot be written."""
    config, manifest = session.config, session.reals.manifest.model_dump_json()
    # the line of an interrupted step is written again
    images = session.trainer.images_seen - session.monitors.interrupted
    try:
        write_identity(config, identity)
        return open_tracker(
            config, start_images=images, run_id=identity["wandb_id"], description=facts, manifest=manifest
        )
    except OSError as error:
        raise LaunchError(f"run directory {config.run_dir} cannot be written: {error}; set run.dir") from None


def open_checkpoints(session: Session, facts: dict[str, Any], telemetry: Telemetry) -> CheckpointManager:
    config = session.config
    directory = config.run_dir / "checkpoints"
    return CheckpointManager(directory, config.checkpoint, session.trainer, session.monitors, facts, telemetry)


def build_loop(
    session: Session,
    evaluator: Evaluator | None,
    checkpoints: CheckpointManager,
    telemetry: Telemetry,
    stop: StopSignal,
    callbacks: Callbacks,
) -> TrainingLoop:
    """Puts the parts together."""
    config, reals, exporter = session.config, session.reals, session.exporter
    best, evaluation = session.monitors.early_stopping, None
    if evaluator:
        evaluation = OnlineEvaluation(evaluator, exporter, best, telemetry)
    samples = SampleGrid.of(exporter.generator(), reals, config.log.samples, telemetry.tracker, metric=best.metric)
    enough = reals.images >= 2 * config.train.batch_size  # else ranks may rightly see the same images
    peers = Peers(stop, session.process.heartbeat, ConsistencyCheck(session.trainer.accelerator, images=enough))
    return TrainingLoop(
        Intervals.of(config), session.trainer, reals, telemetry, checkpoints, evaluation, samples, peers, callbacks,
        session.work,
    )  # fmt: skip


def export(session: Session, telemetry: Telemetry, outcome: Outcome) -> None:
    """Exports the last generator and uploads the best. Raises Halted if the last weights are NaN or infinite."""
    urgent = outcome.reason.urgent
    if not outcome.saved and not urgent:
        raise Halted("the weights are NaN or infinite: the last checkpoint is from before, nothing is exported")
    if not urgent:
        upload_best(session.exporter, telemetry)
    if outcome.saved:
        export_last(session.exporter, session.monitors.early_stopping, telemetry, urgent)


def stopped(session: Session, outcome: Outcome) -> Stopped:
    """The error of a training that a signal has stopped."""
    what = "everything is saved"
    if not outcome.saved:
        what = "bad numbers of the last steps are not saved, all before them is"
    return Stopped(
        f"stopped by {outcome.reason} at {session.trainer.images_seen:,} images; {what} in "
        f"{session.config.run_dir}, the same command goes on from here",
        outcome.reason.exit_code - 128,
    )
