"""A few real steps of the real networks on the real images, measured. Nothing is kept or written.

In: a configuration, on every rank. Out: plain numbers, which `estimate.py` turns into results.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import psutil
import torch
from accelerate import Accelerator

from distgan.config.schema import Config, DataConfig
from distgan.data.dataset import ImageDataset
from distgan.data.location import open_data_set
from distgan.data.prepare import Request, build_source, prepare
from distgan.data.shards.selection import select_shards
from distgan.data.sources.shapes import CLASSES, Shapes
from distgan.distributed.accelerator import own_rows
from distgan.distributed.collectives import largest, on_main
from distgan.doctor.data import impatient
from distgan.training.checkpoint.state import capture
from distgan.training.consistency import ConsistencyCheck
from distgan.training.meters import BatchTimer
from distgan.training.trainer import Trainer

WARM_UP = 2  # steps that are not timed
TIMED_SECONDS = 4.0  # about
MIN_STEPS, MAX_STEPS = 3, 50  # that are timed
STAND_IN_IMAGES = 400


class Plan(NamedTuple):
    """The images of the dry run; by default those of the configuration."""

    drawn: bool = False
    """Drawn shapes, because the data set does not exist yet."""
    one_shard: bool = False
    """One shard, because all would have to be fetched first."""
    skip_reason: str = ""
    """Why there can be no dry run, or nothing."""


class StepTimes(NamedTuple):
    """Durations of one rank's steps."""

    first: float
    """Seconds of the first step."""
    step: float
    """Mean seconds of a timed step."""
    steps: int
    """Number of timed steps."""
    wait: float
    """Share of a step that is spent waiting for images."""


class Measurements(NamedTuple):
    """The dry run of one rank."""

    rank: int
    load: float
    """Seconds until the images could be read and the networks were built."""
    first: float
    step: float
    steps: int
    wait: float
    """First, step, steps and wait: as in `StepTimes`."""
    not_finite: tuple[str, ...]
    """Names of losses and of norms of gradients and weights that are NaN or infinite."""
    losses: tuple[float, float]
    """Of D and G at the last step."""
    checkpoint: int
    """Bytes of the state."""
    generator: int
    """Bytes of the averaged generator."""
    image: int
    """Bytes of a real image."""
    images: str
    """resident, stream, or a description of the stand-in images."""
    host: int
    """Bytes by which this process's memory has grown, at its peak."""
    device: int
    """Bytes of the GPU's memory, at the peak; 0 on the CPU."""
    device_free: int
    """Bytes of the GPU's memory that were free before."""
    gradients: int
    """Bytes of D's gradients."""
    reduce: float
    """Seconds to sum the gradients over all ranks; 0 for one process."""


def stand_in(config: Config, scratch: Path, plan: Plan) -> tuple[Config, str]:
    """The configuration with the plan's images, and a description of them (empty: those of the configuration).

    scratch: an empty directory for the images.
    """
    changes: dict[str, Any] = {"cache": None}
    description = ""
    directory = scratch / "images"
    if plan.drawn:
        prepare(drawn_instead(config.data, directory), progress=False)
        changes |= {"path": directory, "classes": None, "prepare": None, "mode": "resident"}
        description = f"{STAND_IN_IMAGES} drawn shapes instead of the images"
    elif plan.one_shard:
        server, manifest = open_data_set(impatient(config.data))
        shard = select_shards(server, manifest, config.data.classes).shards[0]
        directory.mkdir()
        with server.open(shard.name, shard.bytes, shard.sha256) as file:  # type: ignore[union-attr, call-arg]
            (directory / shard.name).write_bytes(file.read())
        manifest.model_copy(update={"shards": (shard,)}).save(directory)
        changes |= {"path": directory, "prepare": None, "mode": "resident"}
        description = "one shard instead of all"
    return config.model_copy(update={"data": config.data.model_copy(update=changes)}), description


def drawn_instead(config: DataConfig, directory: Path) -> Request:
    """Shapes of the size and the channels of the images that data.prepare will make. Raises DataError."""
    assert config.prepare is not None, "there is nothing to draw instead of"
    offer = build_source(config.prepare, {}, directory.parent).offer("train", config.classes)
    source = Shapes(STAND_IN_IMAGES, size=cast(Any, offer.size), channels="gray" if offer.channels == 1 else "rgb")
    return Request(directory, source, classes=CLASSES[: len(offer.classes)], shard_size=100)


def measure(
    config: Config, accelerator: Accelerator, description: str, progress: Callable[[str], None]
) -> Measurements:
    """Trains for a few steps and measures them. Every rank calls it.

    description: from `stand_in`; progress: shows a sentence to a person who waits.
    Raises DistganError, and torch's errors if memory is short.
    """
    device, start = accelerator.device, time.monotonic()
    device_free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
    memory_before = psutil.Process().memory_info().rss
    rows = own_rows(config.train, accelerator)
    reals = ImageDataset(config.data, config.run.seed, rows, device, accelerator.is_main_process)
    trainer = Trainer(config, accelerator, rows, reals.size, reals.class_counts, reals.channels)
    load = time.monotonic() - start
    times, metrics = time_steps(trainer, reals, progress)
    ConsistencyCheck(accelerator, images=False).check(trainer)
    values = {name: value.item() for name, value in (metrics | trainer.weight_norms()).items()}
    gradients = sum(weight.numel() for weight in trainer.d.network.parameters())
    return Measurements(
        rank=accelerator.process_index,
        load=load,
        **times._asdict(),
        not_finite=tuple(name for name, value in values.items() if not math.isfinite(value)),
        losses=(values["loss/d"], values["loss/g"]),
        **state_bytes(capture(trainer).tensors),
        image=reals.selection.image_bytes,
        images=description or reals.mode,
        host=max(_largest_memory() - memory_before, 0),
        device=torch.cuda.max_memory_reserved(device) if device.type == "cuda" else 0,
        device_free=device_free,
        gradients=4 * gradients,
        reduce=time_all_reduce(gradients, accelerator),
    )


def time_steps(
    trainer: Trainer, reals: ImageDataset, progress: Callable[[str], None]
) -> tuple[StepTimes, dict[str, torch.Tensor]]:
    """Makes WARM_UP steps, then times steps for about TIMED_SECONDS. Also returns the metrics of the last step."""
    device, source = trainer.accelerator.device, reals.batches(0)
    batches = BatchTimer(source, lambda _: None)
    progress("dry run: first steps")
    try:
        warm = [_seconds_of(lambda: trainer.step(batches), device) for _ in range(WARM_UP)]
        steps = on_main(lambda: max(MIN_STEPS, min(MAX_STEPS, round(TIMED_SECONDS / max(warm[-1], 1e-6)))))
        progress(f"dry run: {steps} more steps, about {steps * warm[-1]:.0f} s")
        waited, metrics = batches.seconds, {}
        start = time.perf_counter()
        for _ in range(steps):
            metrics = trainer.step(batches)
        _wait_for_device(device)
        step = (time.perf_counter() - start) / steps
    finally:
        source.close()  # type: ignore[attr-defined]  # ends the data workers
    return StepTimes(warm[0], step, steps, (batches.seconds - waited) / steps / max(step, 1e-9)), metrics


def state_bytes(tensors: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """Bytes of a checkpoint with these tensors, and of the averaged generator in it."""
    return {
        "checkpoint": sum(tensor.nbytes for tensor in tensors.values()),
        "generator": sum(tensor.nbytes for name, tensor in tensors.items() if name.startswith("ema/")),
    }


def time_all_reduce(count: int, accelerator: Accelerator) -> float:
    """Seconds of an all-reduce of `count` float32, the shortest of four; 0 for one process."""
    if accelerator.num_processes == 1:
        return 0.0
    tensor = torch.ones(count, device=accelerator.device)
    return min(_seconds_of(lambda: largest(tensor), accelerator.device) for _ in range(4))


def _largest_memory() -> int:
    """The most memory that this process has had so far, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _seconds_of(call: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    call()
    _wait_for_device(device)
    return time.perf_counter() - start


def _wait_for_device(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
