"""Whether processes and data workers go with the shards, and resident images with the memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from distgan.config.schema import Config
from distgan.data import dataset
from distgan.data.sharding import ReadPlan
from distgan.data.shards.reader import ShardSelection
from distgan.doctor.finding import Finding, fail, ok, shown_bytes, warn
from distgan.utils.errors import DataError
from distgan.utils.rng import Rows

TOO_MUCH = 2.0  # times the images that are shown
CROWD = 4  # processes and workers per core


def mode_of(config: Config, wanted: ShardSelection) -> str:
    """stream or resident, as training will choose."""
    return dataset.mode_of(config.data, wanted)


def reading(config: Config, wanted: ShardSelection, rows: Rows, local: int, cores: int, gpu: bool) -> list[Finding]:
    """rows: of this process; local: processes on this machine; gpu: whether training is on one."""
    mode, processes = mode_of(config, wanted), rows.total // len(rows)
    if mode == "resident":
        epochs = config.train.images / wanted.total
        text = f"resident: {wanted.total / rows.total:,.1f} batches per epoch, {epochs:,.1f} epochs in the budget"
        return [ok("readers", text)]
    try:
        plan = dataset.read_plan(config.data, wanted, rows, config.run.seed, gpu)
    except DataError as error:
        return [fail("readers", str(error), "or add images")]
    found = [shards_for_readers(plan, processes)]
    epochs = config.train.images / (plan.batches_per_epoch * rows.total)
    text = f"{plan.batches_per_epoch:,} batches per epoch, {plan.left_out} images left out, others each time"
    found.append(ok("epoch", f"{text}; {epochs:,.1f} epochs in the budget"))
    workers = dataset.worker_count(config.data, wanted, gpu)
    if workers and local * (1 + workers) > CROWD * cores:
        text = f"{local} process(es) with {workers} data worker(s) each on {cores} core(s)"
        found.append(warn("cores", text, f"use data.workers={max(cores // local - 1, 0)}, or more cores"))
    return found


def shards_for_readers(plan: ReadPlan, processes: int) -> Finding:
    """A reader comes to its part of a shard by reading past all that lies before it."""
    readers, shards = processes * plan.workers, len(plan.counts)
    read, shown = read_and_shown(plan, processes)
    ratio = read / max(shown, 1)
    text = f"{shards:,} shard(s) for {readers} reader(s) ({processes} process(es) x {plan.workers})"
    if shards < readers or ratio > TOO_MUCH:
        size = max(shown // (4 * readers), 1)
        more = (
            f"make more shards (`distgan prepare ... --shard-size {size}`), lower data.workers, or data.mode=resident"
        )
        return warn("readers", f"{text}: they read {ratio:.1f} times the images that they show", more)
    return ok("readers", f"{text}: they read {ratio:.1f} times the images that they show")


def read_and_shown(plan: ReadPlan, processes: int) -> tuple[int, int]:
    """Images that all readers read, and that they show, in the first epoch."""
    read = shown = 0
    for rank in range(processes):
        here = dataclasses.replace(plan, rank=rank)
        for worker in range(plan.workers):
            for segment in here.segments(0, worker):
                read, shown = read + segment.stop, shown + segment.stop - segment.start
    return read, shown


def resident_memory(config: Config, wanted: ShardSelection, local: int, host: int, device: int | None) -> list[Finding]:
    """host: bytes that are free on this machine; device: bytes of this process's GPU, None on the CPU."""
    what, mode = "data memory", mode_of(config, wanted)
    need = wanted.total * (3 * wanted.size**2 + 8)
    if mode == "stream":
        readers = local * max(dataset.worker_count(config.data, wanted, device is not None), 1)
        buffered = min(config.data.shuffle_buffer * readers, wanted.total)
        encoded = sum(shard.bytes for shard in wanted.shards) / sum(shard.count for shard in wanted.shards)
        text = f"stream: about {shown_bytes(buffered * encoded)} in shuffle buffers, {shown_bytes(host)} free"
        if buffered * encoded > 0.8 * host:
            return [warn(what, text, "lower data.shuffle_buffer or data.workers")]
        return [ok(what, text)]
    each = f"{shown_bytes(need)} of images per process, {local} process(es) here"
    if need * local > host:
        advice = "use data.mode=stream, or fewer processes per machine"
        return [fail(what, f"{each}, {shown_bytes(host)} of host memory are free", advice)]
    if config.data.resident_on == "device" and device is not None:
        if need > 0.8 * device:
            advice = "use data.resident_on=host, or data.mode=stream"
            return [(fail if need > device else warn)(what, f"{each}, the GPU has {shown_bytes(device)}", advice)]
        return [ok(what, f"{each}, kept on the GPU, which has {shown_bytes(device)}")]
    return [ok(what, f"{each}, {shown_bytes(host)} of host memory are free")]


def cache(config: Config, wanted: ShardSelection, free: int | None) -> list[Finding]:
    """free: bytes where data.cache is, None where that is no directory that can be made."""
    if config.data.cache is None or isinstance(wanted.location, Path):
        return []
    need = sum(shard.bytes for shard in wanted.shards)
    if free is None:
        return [fail("cache", f"data.cache={config.data.cache} cannot be made", "set another directory, or null")]
    text = f"data.cache grows to {shown_bytes(need)}, {shown_bytes(free)} are free beside what it holds"
    return [warn("cache", text, "make room, or set data.cache=null") if need > free else ok("cache", text)]
