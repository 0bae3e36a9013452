"""This machine: devices, precision, cores, memory, and what the system allows a process."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from distgan.config.schema import Config
from distgan.distributed.accelerator import choose_precision
from distgan.doctor.finding import Finding, fail, ok, shown_bytes, warn
from distgan.utils.errors import ConfigError

LITTLE_SHM = 64 << 20  # what a Docker container gets


class Gpu(NamedTuple):
    name: str
    bytes: int


class Machine(NamedTuple):
    """What is there."""

    gpus: tuple[Gpu, ...]
    built_for: str | None
    """CUDA or ROCm that torch was built for."""
    driver: bool
    """Whether there are signs of an NVIDIA GPU, whatever torch sees."""
    cores: int
    cpu_wanted: bool
    """ACCELERATE_USE_CPU."""

    @property
    def on_gpu(self) -> bool:
        return bool(self.gpus) and not self.cpu_wanted


def look(environment: Mapping[str, str] = os.environ) -> Machine:
    """At this machine, as this process sees it."""
    places = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    properties = [torch.cuda.get_device_properties(place) for place in places]
    return Machine(
        gpus=tuple(Gpu(item.name, item.total_memory) for item in properties),
        built_for=f"CUDA {torch.version.cuda}" if torch.version.cuda else torch.version.hip and "ROCm",
        driver=Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None,
        cores=len(os.sched_getaffinity(0)),
        cpu_wanted=environment.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes"),
    )


def local_processes(environment: Mapping[str, str] = os.environ) -> int:
    """Processes of this launch on this machine."""
    text = environment.get("LOCAL_WORLD_SIZE", "1")
    return max(int(text), 1) if text.isdigit() else 1


def devices(there: Machine, processes: int) -> list[Finding]:
    """processes: of this launch on this machine."""
    what = "devices"
    if there.on_gpu:
        names = [f"{gpu.name}, {shown_bytes(gpu.bytes)}" for gpu in there.gpus]
        text = f"{len(names)} GPU(s): {names[0]}" + ("" if len(set(names)) == 1 else f" and others: {', '.join(names)}")
        if processes > len(names):
            advice = f"start {len(names)} at most: `--num_processes {len(names)}`"
            return [fail(what, f"{processes} processes on this machine, but {len(names)} GPU(s)", advice)]
        if processes < len(names):
            advice = f"to use all: `accelerate launch --multi_gpu --num_processes {len(names)} ...`"
            return [warn(what, f"{text}; only {processes} would be used", advice)]
        return [ok(what, f"{text}; {there.cores} CPU cores")]
    text = f"no GPU is used; {there.cores} CPU core(s) for {processes} process(es)"
    if there.gpus:
        return [warn(what, f"{text}, because ACCELERATE_USE_CPU is set", "unset it to train on the GPU")]
    if there.built_for:
        advice = "look at `nvidia-smi`, at the driver's version, and at CUDA_VISIBLE_DEVICES"
        return [warn(what, f"{text}: torch is built for {there.built_for} but sees no GPU", advice)]
    if there.driver:
        advice = "install a torch that is built for CUDA"
        return [warn(what, f"{text}: this torch is built for the CPU, though there seems to be an NVIDIA GPU", advice)]
    if processes > there.cores:
        return [warn(what, text, f"start {there.cores} process(es) at most: they share the cores")]
    return [ok(what, text)]


def precision(config: Config, environment: Mapping[str, str], on_gpu: bool) -> list[Finding]:
    """Which one is chosen, and why."""
    try:
        chosen, why = choose_precision(config.train.precision, environment.get("ACCELERATE_MIXED_PRECISION"), on_gpu)
    except ConfigError as error:
        return [fail("precision", str(error), "set train.precision, or the launcher's --mixed_precision")]
    if chosen == "fp16" and (penalties := config.loss.penalised):
        text = f"{', '.join(penalties)} with fp16: the penalty's gradients underflow"
        return [fail("precision", text, f"use train.precision=bf16, or {penalties[0]}=0")]
    if chosen == "bf16" and not on_gpu:
        text = f"bf16 on the CPU ({why})"
        return [warn("precision", text, "train.precision=no is as a rule faster there")]
    return [ok("precision", f"{chosen}: {why}")]


def limits(workers: int, rows: int, size: int, processes: int) -> list[Finding]:
    """What the data workers need of the system. workers: of a process; rows: images per batch of a process."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    shm = shutil.disk_usage("/dev/shm") if Path("/dev/shm").is_dir() else None
    return [
        *open_files(workers, files),
        *shared_memory(workers, rows * (3 * size**2 + 8), processes, shm and shm.total, shm and shm.free),
    ]


def open_files(workers: int, limit: int) -> list[Finding]:
    """limit: RLIMIT_NOFILE, -1 for none."""
    need = 256 + 64 * workers
    if 0 <= limit < need:
        return [warn("open files", f"a process may hold {limit}, and may need {need}", "run `ulimit -n 4096` before")]
    return [ok("open files", f"a process may hold {'any number' if limit < 0 else limit}, and may need {need}")]


def shared_memory(workers: int, batch: int, processes: int, total: int | None, free: int | None) -> list[Finding]:
    """batch: bytes of a process's batch, which a worker hands over through /dev/shm."""
    what = "/dev/shm"
    if not workers:
        return [ok(what, "not needed: no data worker hands over batches")]
    need = batch * (4 * workers + 2) * processes  # DataLoader's prefetch, and what is in hand
    if total is None or free is None:
        return [warn(what, "there is none, and data workers need it", "mount it, or set data.workers=0")]
    text = f"{shown_bytes(free)} free of {shown_bytes(total)}, data workers need {shown_bytes(need)}"
    advice = "give the container more (docker run --shm-size=8g, Kubernetes: an emptyDir in memory), or data.workers=0"
    if need > free:
        return [fail(what, text, advice)]
    return [warn(what, text, advice)] if total <= LITTLE_SHM or need > free / 2 else [ok(what, text)]


def host_memory(groups: Sequence[Path] = (Path("/sys/fs/cgroup"),)) -> int:
    """Bytes that processes may still take on this machine, also within a container's limit."""
    free = int(psutil.virtual_memory().available)
    for group in groups:
        try:
            limit = int((group / "memory.max").read_text())
            free = min(free, max(limit - int((group / "memory.current").read_text()), 0))
        except (OSError, ValueError):  # no limit: "max"
            continue
    return free
