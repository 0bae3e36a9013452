"""The configuration against the number of processes, and against the files in the run directory. Only reads."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from distgan.config.schema import Config
from distgan.data.reference import elsewhere, open_data
from distgan.distributed.accelerator import batch_rows
from distgan.doctor.check_result import CheckResult, fail, ok, warn
from distgan.doctor.data import DataSet
from distgan.metrics.evaluator import check, check_known, is_shapes, names_of
from distgan.metrics.extractors.base import load_extractor
from distgan.metrics.flattery import flattery
from distgan.training.checkpoint import storage
from distgan.training.checkpoint.resume import NEW_RUN, check_resume
from distgan.training.checkpoint.storage import State
from distgan.training.early_stopping import EarlyStopping
from distgan.training.init import open_source
from distgan.training.run_dir import check_place, holder_of
from distgan.utils.errors import CheckpointError, ConfigError, DataError, DistganError, LaunchError, QualityError


class Launch(NamedTuple):
    """The facts of this launch that a checkpoint is compared with."""

    processes: int
    precision: str
    data_digest: str | None
    """Digest of the manifest of the images; None if there is no manifest yet."""


def check_batch(config: Config, processes: int) -> list[CheckResult]:
    """Whether train.batch_size can be divided among processes and micro-batches."""
    size, parts = config.train.batch_size, config.train.accumulation
    try:
        rows = batch_rows(size, parts, 0, processes)
    except ConfigError as error:
        return [fail("batch", str(error), "set train.batch_size, or start another number of processes")]
    text = f"{size} images over {processes} process(es) and {parts} micro-batch(es): {len(rows) // parts} at a time"
    if len(rows) // parts == 1 and size > 1:
        return [warn("batch", text, "one image at a time leaves a device idle: use fewer processes or micro-batches")]
    return [ok("batch", text)]


def check_scores(config: Config, data_set: DataSet | None) -> list[CheckResult]:
    """Whether quality can be evaluated during training; nothing if evaluate.every_images is not set."""
    what, every = "scores", config.evaluate.every_images
    if every is None:
        return []
    try:
        extractor = load_extractor(config.evaluate, torch.device("cpu"))
        best, reference = EarlyStopping(config.best, config.evaluate), config.evaluate.reference
        if reference is not None or data_set is not None:
            data = config.data if reference is None else elsewhere(config.data, reference)
            manifest, selection = open_data(data)
            check(config.evaluate, selection.total, is_shapes(manifest))
            check_known(extractor, selection)
            best.check(names_of(config.evaluate, is_shapes(manifest), config.generator.conditional))
            if data_set is not None and (size := data_set.manifest.size) != manifest.size:
                text = (
                    f"the images in {reference} are {manifest.size}x{manifest.size}, those of data.path {size}x{size}"
                )
                return [fail(what, text, "choose another evaluate.reference")]
            if data_set is not None and data_set.manifest.channels != manifest.channels:
                text = f"of {reference} and data.path only one holds gray images"
                return [fail(what, text, "choose another evaluate.reference")]
    except (ConfigError, DataError, QualityError) as error:
        return [fail(what, str(error), "or set evaluate.every_images=null to train without scores")]
    if flattered := flattery(config.model_dump(include={"discriminator"}), config.evaluate.extractor):
        return [warn(what, flattered, "use evaluate.extractor=classifier or inception; docs/judges.md says why")]
    text = f"{config.evaluate.count:,} generated images are evaluated every {every:,} images"
    return [ok(what, f"{text}; the best by {best.metric} is kept")]


def check_lock(run_dir: Path) -> list[CheckResult]:
    """Whether another training is writing to the run directory now, and whether one can."""
    try:
        check_place(run_dir)
    except (LaunchError, OSError) as error:
        return [fail("lock", *_cut(error))]
    try:
        holder = holder_of(run_dir)
    except (FileNotFoundError, NotADirectoryError):
        return [ok("lock", f"no training has written to {run_dir} yet")]
    except OSError as error:
        text = f"file locks do not work in {run_dir} ({error.strerror})"
        return [warn("lock", text, "let only one training write to it")]
    if holder is not None:
        return [fail("lock", f"another training is writing to {run_dir} ({holder})", f"stop it, or {NEW_RUN}")]
    return [ok("lock", f"no other training is writing to {run_dir}")]


def _cut(error: Exception) -> tuple[str, str]:
    """A training's sentence as text and advice."""
    text, _, advice = str(error).partition("; " if "; " in str(error) else ": ")
    return text, advice


def check_checkpoints(config: Config, launch: Launch) -> tuple[int, list[CheckResult]]:
    """The step from which `--resume auto` would continue, 0 for none, and the results."""
    what, directory = "resume", config.run_dir / "checkpoints"
    steps, damaged = storage.steps(directory), list[CheckResult]()
    for step in reversed(steps):
        path = directory / f"step-{step:09d}"
        try:
            state = storage.load(path)
        except storage.NewerCheckpoint as error:
            return 0, [*damaged, fail(what, *_cut(error))]
        except CheckpointError as error:
            damaged.append(warn(what, str(error), "training will use the one before it"))
            continue
        return step, [*damaged, *compare_checkpoint(config, path, state, launch)]
    if steps:
        return 0, [*damaged, fail(what, f"none of the checkpoints in {directory} is complete", NEW_RUN)]
    return 0, [ok(what, f"{config.run_dir} holds no checkpoint: training starts from the beginning")]


def check_init(config: Config, resumed: bool) -> list[CheckResult]:
    """Whether the weights that a new run begins with can be read; nothing if init.from is not set.

    resumed: the run goes on from a checkpoint of its own.
    """
    what, given = "init", config.init.from_
    if given is None:
        return []
    if resumed:
        return [ok(what, f"{given} is not used again: the run goes on from its own checkpoint")]
    if isinstance(given, str):
        return [ok(what, f"{given} is downloaded when training starts")]
    try:
        source = open_source(config.init)
    except DistganError as error:
        return [fail(what, *_cut(error))]
    return [ok(what, f"training begins with the weights in {source.path}: {', '.join(source.networks)}")]


def compare_checkpoint(config: Config, path: Path, state: State, launch: Launch) -> list[CheckResult]:
    """Whether training may continue from the checkpoint at `path`, and with which changes."""
    what, values = "resume", state.values
    refusals, changes = check_resume(path, values, config, launch.data_digest)
    if refusals:
        return [fail(what, refusal.text, refusal.fix) for refusal in refusals]
    steps = int(values["g"]["updates"])
    if steps >= config.total_steps:
        text = f"{path} is at the end of the budget (train.images={config.train.images}): nothing would be trained"
        return [warn(what, text, f"set more train.images, or {NEW_RUN}")]
    if values["precision"] != launch.precision:
        changes.append(f"precision: {values['precision']} -> {launch.precision}")
    if values["processes"] != launch.processes:
        changes.append(f"processes: {values['processes']} -> {launch.processes}")
    changed = f"; changed since then: {'; '.join(changes)}" if changes else ""
    return [ok(what, f"training continues from {path}, step {steps:,} of {config.total_steps:,}{changed}")]
