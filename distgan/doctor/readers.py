"""Whether the shards suffice for processes and data workers, and the memory for the images."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from distgan.config.schema import Config
from distgan.data import dataset
from distgan.data.sharding import ReadPlan
from distgan.data.shards.selection import ShardSelection
from distgan.doctor.check_result import CheckResult, fail, format_bytes, ok, warn
from distgan.utils.errors import DataError
from distgan.utils.rng import Rows

MAX_READ_RATIO = 2.0  # images read per image shown
MAX_CROWD = 4  # processes and workers per core
MAX_MEMORY = 0.8  # share of the free memory


def mode_of(config: Config, selection: ShardSelection) -> str:
    """stream or resident, as training will choose."""
    return dataset.mode_of(config.data, selection)


def check_readers(
    config: Config, selection: ShardSelection, rows: Rows, local: int, cores: int, gpu: bool
) -> list[CheckResult]:
    """Checks how the images are divided among processes and workers.

    rows: of this process; local: processes on this machine; cores: of this machine; gpu: whether training uses one.
    """
    mode, processes = mode_of(config, selection), rows.total // len(rows)
    if mode == "resident":
        epochs = config.train.images / selection.total
        text = f"resident: {selection.total / rows.total:,.1f} batches per epoch, {epochs:,.1f} epochs in the budget"
        return [ok("readers", text)]
    try:
        plan = dataset.read_plan(config.data, selection, rows, config.run.seed, gpu)
    except DataError as error:
        return [fail("readers", str(error), "or add images")]
    results = [check_read_ratio(plan, processes)]
    epochs = config.train.images / (plan.batches_per_epoch * rows.total)
    text = f"{plan.batches_per_epoch:,} batches per epoch, {plan.left_out} images skipped (different ones each time)"
    results.append(ok("epoch", f"{text}; {epochs:,.1f} epochs in the budget"))
    workers = dataset.worker_count(config.data, selection, gpu)
    if workers and local * (1 + workers) > MAX_CROWD * cores:
        text = f"{local} process(es) with {workers} data worker(s) each on {cores} core(s)"
        results.append(warn("cores", text, f"use data.workers={max(cores // local - 1, 0)}, or more cores"))
    return results


def check_read_ratio(plan: ReadPlan, processes: int) -> CheckResult:
    """How much more is read than shown: a reader reaches its part of a shard by reading everything before it."""
    readers, shards = processes * plan.workers, len(plan.counts)
    read, shown = read_and_shown(plan, processes)
    ratio = read / max(shown, 1)
    text = f"{shards:,} shard(s) for {readers} reader(s) ({processes} process(es) x {plan.workers})"
    text += f", {ratio:.1f} images read per image shown"
    if shards < readers or ratio > MAX_READ_RATIO:
        size = max(shown // (4 * readers), 1)
        more_shards = f"make more shards (`distgan prepare ... --shard-size {size}`)"
        return warn("readers", text, f"{more_shards}, lower data.workers, or set data.mode=resident")
    return ok("readers", text)


def read_and_shown(plan: ReadPlan, processes: int) -> tuple[int, int]:
    """(images that all readers read in the first epoch, images that they show)."""
    read = shown = 0
    for rank in range(processes):
        own_plan = dataclasses.replace(plan, rank=rank)
        for worker in range(plan.workers):
            for segment in own_plan.segments(0, worker):
                read, shown = read + segment.stop, shown + segment.stop - segment.start
    return read, shown


def check_data_memory(
    config: Config, selection: ShardSelection, local: int, host: int, device: int | None
) -> list[CheckResult]:
    """Whether the images fit into the memory of the host or the GPU.

    local: processes on this machine; host: free bytes on it; device: free bytes of this process's GPU, None on the CPU.
    """
    if mode_of(config, selection) == "stream":
        workers = dataset.worker_count(config.data, selection, device is not None)
        return [_check_buffers(config, selection, local * max(workers, 1), host)]
    what, need = "data memory", selection.total * (selection.image_bytes + 8)
    text = f"{format_bytes(need)} of images per process, {local} process(es) on this machine"
    if need * local > host:
        advice = "use data.mode=stream, or fewer processes per machine"
        return [fail(what, f"{text}, {format_bytes(host)} of host memory are free", advice)]
    if config.data.resident_on != "device" or device is None:
        return [ok(what, f"{text}, {format_bytes(host)} of host memory are free")]
    text = f"{text}, {format_bytes(device)} of the GPU's memory are free"
    if need > MAX_MEMORY * device:
        return [(fail if need > device else warn)(what, text, "use data.resident_on=host, or data.mode=stream")]
    return [ok(what, text)]


def _check_buffers(config: Config, selection: ShardSelection, readers: int, host: int) -> CheckResult:
    """readers: on this machine; host: free bytes on it."""
    images = min(config.data.shuffle_buffer * readers, selection.total)
    encoded = sum(shard.bytes for shard in selection.shards) / sum(shard.count for shard in selection.shards)
    text = f"stream: about {format_bytes(images * encoded)} in shuffle buffers, {format_bytes(host)} free"
    if images * encoded > MAX_MEMORY * host:
        return warn("data memory", text, "lower data.shuffle_buffer or data.workers")
    return ok("data memory", text)


def check_cache(config: Config, selection: ShardSelection, free: int | None) -> list[CheckResult]:
    """Whether data.cache has room for all shards. free: bytes there, None if the directory cannot be made."""
    if config.data.cache is None or isinstance(selection.location, Path):
        return []
    need = sum(shard.bytes for shard in selection.shards)
    if free is None:
        return [fail("cache", f"data.cache={config.data.cache} cannot be made", "set another directory, or null")]
    text = f"data.cache grows to {format_bytes(need)}, {format_bytes(free)} are free beside its present files"
    return [warn("cache", text, "make room, or set data.cache=null") if need > free else ok("cache", text)]
