"""The parts of one training on one rank, as `training/run.py` hands them on."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from accelerate import Accelerator

from distgan.config.schema import Config
from distgan.data.dataset import ImageDataset
from distgan.distributed.heartbeat import Heartbeat
from distgan.distributed.signals import Signals
from distgan.training.callbacks import Callback
from distgan.training.export import Exporter
from distgan.training.flops import peak_flops, step_flops
from distgan.training.meters import Work
from distgan.training.monitors import Monitors
from distgan.training.run_dir import RunLock
from distgan.training.trainer import Trainer
from distgan.utils.rng import Rows


class Process(NamedTuple):
    """This process among the others."""

    accelerator: Accelerator
    rows: Rows
    """Its rows of the global batch."""
    heartbeat: Heartbeat
    signals: Signals
    lock: RunLock | None
    """Of the run directory; None but on the main process."""
    callbacks: Sequence[Callback] = ()
    """The caller's."""


@dataclass(frozen=True)
class Session:
    """The parts of one training on this rank, before its record is opened."""

    config: Config
    process: Process
    trainer: Trainer
    reals: ImageDataset
    monitors: Monitors
    exporter: Exporter
    init_path: str
    """What `init.from` was when this start has taken it; empty where it did not."""

    @functools.cached_property
    def work(self) -> Work:
        """What a step is to the devices, for its speed. Counted once: it takes up to seconds."""
        config, reals, accelerator = self.config, self.reals, self.trainer.accelerator
        name = torch.cuda.get_device_name(accelerator.device) if accelerator.device.type == "cuda" else ""
        peak = peak_flops(name, accelerator.mixed_precision)
        flops = step_flops(config, reals.size, len(reals.classes), reals.channels)
        return Work(flops, config.images_per_step, peak and peak * accelerator.num_processes)
