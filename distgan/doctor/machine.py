"""This machine: devices, precision, cores, memory, and the system's limits for a process."""

from __future__ import annotations

import os
import resource
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from distgan.config.schema import Config
from distgan.distributed.accelerator import choose_precision
from distgan.doctor.check_result import CheckResult, fail, format_bytes, ok, warn
from distgan.utils import cpu
from distgan.utils.errors import ConfigError
from distgan.utils.installed import built_for
from distgan.utils.system import usable_cores

DOCKER_SHM = 64 << 20  # bytes of /dev/shm in a container, unless it is given more


class Gpu(NamedTuple):
    """One GPU: its name, and the bytes of its memory."""

    name: str
    bytes: int


class Machine(NamedTuple):
    """This machine as this process sees it."""

    gpus: tuple[Gpu, ...]
    built_for: str | None
    """CUDA or ROCm that torch was built for."""
    driver: bool
    """Whether there are signs of an NVIDIA GPU, even if torch sees none."""
    cores: int
    """CPU cores that this process may use."""
    cpu_requested: bool
    """Whether ACCELERATE_USE_CPU is set."""

    @property
    def on_gpu(self) -> bool:
        """Whether a training would use a GPU."""
        return bool(self.gpus) and not self.cpu_requested


def inspect_machine(environment: Mapping[str, str] = os.environ) -> Machine:
    """Collects the facts about this machine."""
    indices = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    properties = [torch.cuda.get_device_properties(index) for index in indices]
    return Machine(
        gpus=tuple(Gpu(item.name, item.total_memory) for item in properties),
        built_for=built_for(torch.version.cuda, torch.version.hip),
        driver=Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None,
        cores=usable_cores(),
        cpu_requested=environment.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes"),
    )


def check_devices(machine: Machine, processes: int) -> list[CheckResult]:
    """Whether devices and processes match. processes: of this launch on this machine."""
    what = "devices"
    if machine.on_gpu:
        names = [f"{gpu.name}, {format_bytes(gpu.bytes)}" for gpu in machine.gpus]
        text = f"{len(names)} GPU(s): {names[0]}" + ("" if len(set(names)) == 1 else f" and others: {', '.join(names)}")
        if processes > len(names):
            advice = f"start {len(names)} at most: `--num_processes {len(names)}`"
            return [fail(what, f"{processes} processes on this machine, but {len(names)} GPU(s)", advice)]
        if processes < len(names):
            advice = f"to use all: `accelerate launch --multi_gpu --num_processes {len(names)} ...`"
            return [warn(what, f"{text}; only {processes} would be used", advice)]
        return [ok(what, f"{text}; {machine.cores} CPU cores")]
    text = f"no GPU is used; {machine.cores} CPU core(s) for {processes} process(es)"
    if machine.gpus:
        return [warn(what, f"{text}, because ACCELERATE_USE_CPU is set", "unset it to train on the GPU")]
    if machine.built_for:
        advice = "check `nvidia-smi`, the version of the driver, and CUDA_VISIBLE_DEVICES"
        return [warn(what, f"{text}: torch is built for {machine.built_for} but sees no GPU", advice)]
    if machine.driver:
        advice = "install a torch that is built for CUDA"
        return [warn(what, f"{text}: this torch is built for the CPU, though there seems to be an NVIDIA GPU", advice)]
    if processes > machine.cores:
        return [warn(what, text, f"start {machine.cores} process(es) at most: they share the cores")]
    return [ok(what, text)]


def check_precision(config: Config, environment: Mapping[str, str], on_gpu: bool) -> list[CheckResult]:
    """The precision that a run would choose, and why."""
    try:
        chosen, reason = choose_precision(config.train.precision, environment.get("ACCELERATE_MIXED_PRECISION"), on_gpu)
    except ConfigError as error:
        return [fail("precision", str(error), "set train.precision, or the launcher's --mixed_precision")]
    if chosen == "fp16" and (penalties := config.loss.penalised):
        text = f"{', '.join(penalties)} with fp16: the penalty's gradients underflow"
        return [fail("precision", text, f"use train.precision=bf16, or {penalties[0]}=0")]
    if chosen == "bf16" and not on_gpu and not cpu.has_bf16():
        return [
            warn(
                "precision",
                f"bf16 on a CPU without avx512_bf16 ({reason})",
                "train.precision=no is usually faster there",
            )
        ]
    return [ok("precision", f"{chosen}: {reason}")]


def check_limits(workers: int, rows: int, image: int, processes: int) -> list[CheckResult]:
    """Whether the system gives the data workers enough open files and shared memory.

    workers: of one process; rows: images per batch of one process; image: bytes of one; processes: on this machine.
    """
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    shm = shutil.disk_usage("/dev/shm") if Path("/dev/shm").is_dir() else None
    return [
        *check_open_files(workers, files),
        *check_shared_memory(workers, rows * (image + 8), processes, shm and shm.total, shm and shm.free),
    ]


def check_open_files(workers: int, limit: int) -> list[CheckResult]:
    """workers: of one process; limit: RLIMIT_NOFILE, -1 for none."""
    need = 256 + 64 * workers
    if 0 <= limit < need:
        text = f"the limit of a process is {limit}, and it may need {need}"
        return [warn("open files", text, "run `ulimit -n 4096` before")]
    return [ok("open files", f"the limit of a process is {'none' if limit < 0 else limit}, and it may need {need}")]


def check_shared_memory(
    workers: int, batch: int, processes: int, total: int | None, free: int | None
) -> list[CheckResult]:
    """workers: of one process; batch: bytes of its batch, which a worker hands over through /dev/shm.

    processes: on this machine; total, free: bytes of /dev/shm, None if there is none.
    """
    what = "/dev/shm"
    if not workers:
        return [ok(what, "not needed: there are no data workers")]
    if sys.platform == "darwin":
        return [ok(what, "not needed: macOS has shared memory without it")]
    need = batch * (4 * workers + 2) * processes  # DataLoader's prefetch, and the batches in use
    if total is None or free is None:
        return [warn(what, "it does not exist, and data workers need it", "mount it, or set data.workers=0")]
    text = f"{format_bytes(free)} free of {format_bytes(total)}, data workers need {format_bytes(need)}"
    advice = "give the container more (docker run --shm-size=8g, Kubernetes: an emptyDir in memory), or data.workers=0"
    if need > free:
        return [fail(what, text, advice)]
    return [warn(what, text, advice)] if total <= DOCKER_SHM or need > free / 2 else [ok(what, text)]


def free_host_memory(groups: Sequence[Path] = (Path("/sys/fs/cgroup"),)) -> int:
    """Bytes of this machine's memory that are free, within a container's limit. groups: directories of cgroups."""
    free = int(psutil.virtual_memory().available)
    for group in groups:
        try:
            limit = int((group / "memory.max").read_text())
            free = min(free, max(limit - int((group / "memory.current").read_text()), 0))
        except (OSError, ValueError):  # no limit: "max"
            continue
    return free
