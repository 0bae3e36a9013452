"""Plain facts of a training: for its checkpoints, for W&B and other trackers, for the terminal."""

from __future__ import annotations

import platform
import shlex
import sys
from typing import Any

import torch

from distgan.config.schema import Config
from distgan.data.dataset import ImageDataset
from distgan.distributed.collectives import gather_objects
from distgan.training.session import Session
from distgan.training.tracking.tracker import git_revision
from distgan.utils.version import __version__


def describe(session: Session, run_id: str) -> dict[str, Any]:
    """Plain facts for every checkpoint and for W&B."""
    config, reals, accelerator = session.config, session.reals, session.trainer.accelerator
    return {
        "config": config.model_dump(mode="json"),
        "run_id": run_id,
        "data_digest": reals.manifest_digest,
        "class_names": list(reals.classes),
        "size": reals.size,
        "channels": reals.channels,
        "processes": accelerator.num_processes,
        "precision": accelerator.mixed_precision,
        "git_revision": git_revision(),
        "versions": {"distgan": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def record_of(session: Session, facts: dict[str, Any]) -> dict[str, Any]:
    """What W&B and other trackers are told of the run, beside the facts of its checkpoints. A collective."""
    trainer, accelerator, revision = session.trainer, session.trainer.accelerator, facts["git_revision"]
    counts = {name: sum(weight.numel() for weight in player.weights) for name, player in trainer.players.items()}
    return facts | {
        "parameters": counts,
        "flops_per_step": session.work.flops,
        "images": session.reals.images,
        "device": accelerator.device.type if accelerator.device.type != "cuda" else torch.cuda.get_device_name(),
        "machines": sum(gather_objects(accelerator.is_local_main_process)),
        "command": shlex.join(sys.orig_argv),
        "git_clean": None if revision is None else not revision.endswith("-dirty"),
        "best_metric": session.monitors.early_stopping.metric,
    }


def describe_data(reals: ImageDataset, config: Config) -> str:
    """A line about the data set."""
    gray = " gray" if reals.channels == 1 else ""
    what = f"{reals.images:,} images, {len(reals.classes)} class(es), {reals.size}x{reals.size}{gray}, {reals.mode}"
    left_out = reals.left_out_per_epoch
    return f"{config.data.path}: {what}" + (f"; {left_out} left out per epoch, others each time" if left_out else "")
