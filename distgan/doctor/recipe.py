"""The configuration against the processes, and against what the run directory already holds. Only reads."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import NamedTuple

import torch

from distgan.config.schema import Config
from distgan.data.reference import open_data
from distgan.distributed.accelerator import batch_rows
from distgan.doctor.data import Seen
from distgan.doctor.finding import Finding, fail, ok, warn
from distgan.metrics.evaluator import check, is_shapes, names_of
from distgan.metrics.extractors.base import load_extractor
from distgan.training.checkpoint import storage
from distgan.training.checkpoint.resume import NEW_RUN, check_resume
from distgan.training.checkpoint.storage import State
from distgan.training.early_stopping import EarlyStopping
from distgan.utils.errors import CheckpointError, ConfigError, DataError, QualityError


class Run(NamedTuple):
    """What a checkpoint is compared with."""

    processes: int
    precision: str
    data_digest: str | None
    """Digest of the manifest of the images; None where it is not known."""


def batch(config: Config, processes: int) -> list[Finding]:
    size, parts = config.train.batch_size, config.train.accumulation
    try:
        rows = batch_rows(size, parts, 0, processes)
    except ConfigError as error:
        return [fail("batch", str(error), "set train.batch_size, or start another number of processes")]
    text = f"{size} images over {processes} process(es) and {parts} micro-batch(es): {len(rows) // parts} at a time"
    if len(rows) // parts == 1 and size > 1:
        return [warn("batch", text, "one image at a time leaves a device idle: use fewer processes or micro-batches")]
    return [ok("batch", text)]


def scores(config: Config, seen: Seen | None) -> list[Finding]:
    """Whether quality can be evaluated while training; nothing where it is not to be."""
    what, every = "scores", config.evaluate.every_images
    if every is None:
        return []
    try:
        load_extractor(config.evaluate, torch.device("cpu"))
        best, reference = EarlyStopping(config.best, config.evaluate), config.evaluate.reference
        if reference is not None or seen is not None:
            place = config.data if reference is None else config.data.model_copy(update={"path": reference})
            manifest, wanted = open_data(place)
            check(config.evaluate, wanted.total, is_shapes(manifest))
            best.check(names_of(config.evaluate, is_shapes(manifest), config.generator.conditional))
            if seen is not None and seen.manifest.size != manifest.size:
                sizes = f"{manifest.size}x{manifest.size}, the images of the training {seen.manifest.size}"
                return [fail(what, f"the images in {reference} are {sizes}x{seen.manifest.size}", "name others")]
    except (ConfigError, DataError, QualityError) as error:
        return [fail(what, str(error), "or evaluate.every_images=null, for training without scores")]
    by = best.metric
    return [ok(what, f"every {every:,} images {config.evaluate.count:,} generated ones are looked at; best by {by}")]


def lock(run_dir: Path) -> list[Finding]:
    """Whether another training is writing there now."""
    try:
        with (run_dir / ".lock").open("rb") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                who = file.read(200).decode(errors="replace").strip()
                return [fail("lock", f"another training is writing to {run_dir} ({who})", f"stop it, or {NEW_RUN}")]
            except OSError as error:
                text = f"no file locks in {run_dir} ({error.strerror})"
                return [warn("lock", text, "let only one training write there")]
    except (FileNotFoundError, NotADirectoryError):
        return [ok("lock", f"no training has been in {run_dir}")]
    return [ok("lock", f"no other training is writing to {run_dir}")]


def resume(config: Config, now: Run) -> tuple[int, list[Finding]]:
    """Steps that are done, and what `--resume auto` would do."""
    what, directory = "resume", config.run_dir / "checkpoints"
    there, damaged = storage.steps(directory), list[Finding]()
    for step in reversed(there):
        path = directory / f"step-{step:09d}"
        try:
            state = storage.load(path)
        except CheckpointError as error:
            damaged.append(warn(what, str(error), "training will take the one before it"))
            continue
        return step, [*damaged, *fits(config, path, state, now)]
    if there:
        return 0, [*damaged, fail(what, f"none of the checkpoints in {directory} is complete", NEW_RUN)]
    return 0, [ok(what, f"{config.run_dir} holds no checkpoint: training starts from the beginning")]


def fits(config: Config, path: Path, state: State, now: Run) -> list[Finding]:
    """Whether training may go on from a checkpoint, and what would change."""
    what, values = "resume", state.values
    refusals, changes = check_resume(path, values, config, now.data_digest)
    if refusals:
        return [fail(what, refusal.text, refusal.fix) for refusal in refusals]
    steps = int(values["g"]["updates"])
    if steps >= config.total_steps:
        text = f"{path} is at the end of the budget (train.images={config.train.images}): nothing would be trained"
        return [warn(what, text, f"set more train.images, or {NEW_RUN}")]
    if values["precision"] != now.precision:
        changes.append(f"precision: {values['precision']} -> {now.precision}")
    if values["processes"] != now.processes:
        changes.append(f"processes: {values['processes']} -> {now.processes}")
    changed = f"; changed since then: {'; '.join(changes)}" if changes else ""
    return [ok(what, f"training goes on from {path}, step {steps:,} of {config.total_steps:,}{changed}")]
