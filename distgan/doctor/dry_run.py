"""A few real steps of the real networks on the real images, measured; nothing is kept and nothing is written.

In: a configuration, on every rank. Out: plain numbers, for `estimate.py` to judge.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from accelerate import Accelerator

from distgan.config.schema import Config
from distgan.data.dataset import ImageDataset
from distgan.data.prepare import Request, Shapes, prepare
from distgan.data.shards.manifest import load_manifest
from distgan.data.shards.reader import select_shards
from distgan.data.sources.shapes import CLASSES
from distgan.distributed.accelerator import batch_rows
from distgan.distributed.collectives import largest, on_main
from distgan.doctor.data import place_of
from distgan.training.checkpoint.state import capture
from distgan.training.consistency import ConsistencyCheck
from distgan.training.meters import BatchTimer
from distgan.training.trainer import Trainer

WARM_UP = 2
SECONDS = 4.0  # of timed steps, about
MIN, MAX = 3, 50  # timed steps
STAND_IN = 400  # images


class Measured(NamedTuple):
    """Of one rank."""

    rank: int
    load: float
    """Seconds until the images could be read and the networks were built."""
    first: float
    """Seconds of the first step."""
    step: float
    """Seconds of a later step."""
    steps: int
    """That were timed."""
    wait: float
    """Share of a step that is spent waiting for images."""
    wrong: tuple[str, ...]
    """Losses, gradients' and weights' norms that are not finite."""
    losses: tuple[float, float]
    """Of D and G at the last step."""
    checkpoint: int
    """Bytes of the state."""
    generator: int
    """Bytes of the averaged generator."""
    size: int
    """Of the images, pixels."""
    images: str
    """resident, stream, or what was taken in the images' place."""
    host: int
    """Bytes of host memory that this process has grown by, at its peak."""
    device: int
    """Bytes of the GPU's memory, at the peak; 0 on the CPU."""
    device_free: int
    """Bytes of it that were free before."""
    gradients: int
    """Bytes of D's gradients."""
    reduce: float
    """Seconds to sum those over all ranks; 0 for one process."""


def stand_in(config: Config, scratch: Path, absent: bool, url_resident: bool) -> tuple[Config, str]:
    """The configuration to try: the same, but where the images are not there yet (absent) with drawn shapes, and
    where all would have to be fetched (url_resident) with one shard of them. scratch: an empty directory."""
    taken: dict[str, Any] = {"cache": None}
    said = ""
    place = scratch / "images"
    if absent:
        count = len(config.data.classes or CLASSES)
        prepare(Request(place, Shapes(STAND_IN), classes=CLASSES[:count], shard_size=100), progress=False)
        taken |= {"path": place, "classes": None, "prepare": None, "mode": "resident"}
        said = f"{STAND_IN} drawn shapes in place of the images"
    elif url_resident:
        far = place_of(config.data)
        manifest = load_manifest(far)
        shard = select_shards(far, manifest, config.data.classes).shards[0]
        place.mkdir()
        with far.open(shard.name, shard.bytes, shard.sha256) as file:  # type: ignore[union-attr, call-arg]
            (place / shard.name).write_bytes(file.read())
        manifest.model_copy(update={"shards": (shard,)}).save(place)
        taken |= {"path": place, "prepare": None, "mode": "resident"}
        said = "one shard in place of all"
    return config.model_copy(update={"data": config.data.model_copy(update=taken)}), said


def try_out(config: Config, accelerator: Accelerator, said: str, say: Callable[[str], None]) -> Measured:
    """Every rank must call it. said: about the images; say: is told what goes on.

    Raises DistganError, and what torch raises where memory is short.
    """
    device, start = accelerator.device, time.monotonic()
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
    before = psutil.Process().memory_info().rss
    rows = batch_rows(
        config.train.batch_size, config.train.accumulation, accelerator.process_index, accelerator.num_processes
    )
    reals = ImageDataset(config.data, config.run.seed, rows, device, accelerator.is_main_process)
    trainer = Trainer(config, accelerator, rows, reals.size, len(reals.classes))
    load, source = time.monotonic() - start, reals.batches(0)
    batches = BatchTimer(source, lambda _: None)
    say("dry run: first steps")
    try:
        warm = [_timed(lambda: trainer.step(batches), device) for _ in range(WARM_UP)]
        steps = on_main(lambda: max(MIN, min(MAX, round(SECONDS / max(warm[-1], 1e-6)))))
        say(f"dry run: {steps} more steps, about {steps * warm[-1]:.0f} s")
        waited, metrics = batches.seconds, {}
        start = time.perf_counter()
        for _ in range(steps):
            metrics = trainer.step(batches)
        _finish(device)
        seconds = (time.perf_counter() - start) / steps
    finally:
        source.close()  # type: ignore[attr-defined]  # ends the data workers
    ConsistencyCheck(accelerator, images=False).check(trainer)
    values = {name: value.item() for name, value in (metrics | trainer.weight_norms()).items()}
    state = capture(trainer).tensors
    gradients = sum(weight.numel() for weight in trainer.d.network.parameters())
    return Measured(
        rank=accelerator.process_index,
        load=load,
        first=warm[0],
        step=seconds,
        steps=steps,
        wait=(batches.seconds - waited) / steps / max(seconds, 1e-9),
        wrong=tuple(name for name, value in values.items() if not math.isfinite(value)),
        losses=(values["loss/d"], values["loss/g"]),
        checkpoint=sum(tensor.nbytes for tensor in state.values()),
        generator=sum(tensor.nbytes for name, tensor in state.items() if name.startswith("ema/")),
        size=reals.size,
        images=said or reals.mode,
        host=max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before, 0),
        device=torch.cuda.max_memory_reserved(device) if device.type == "cuda" else 0,
        device_free=free,
        gradients=4 * gradients,
        reduce=_reduce(gradients, accelerator),
    )


def _timed(call: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    call()
    _finish(device)
    return time.perf_counter() - start


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _reduce(count: int, accelerator: Accelerator) -> float:
    """Seconds of an all-reduce of `count` float32, the best of three."""
    if accelerator.num_processes == 1:
        return 0.0
    tensor = torch.ones(count, device=accelerator.device)
    return min(_timed(lambda: largest(tensor), accelerator.device) for _ in range(4))
