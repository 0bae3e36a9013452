"""How the processes are wired: the Accelerator, the precision, and a stop that all ranks agree on.

Nothing here starts processes; that is the launcher's work (accelerate launch, torchrun, srun).
"""

from __future__ import annotations

import datetime
import gc
import os
import warnings
from collections.abc import Mapping
from typing import Literal

import torch
import torch.distributed as dist
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.utils import DDPCommunicationHookType, parse_flag_from_env
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel

from distgan.config.schema import TrainConfig
from distgan.distributed.launcher import check_connected, check_launcher
from distgan.utils.errors import ConfigError, LostProcess
from distgan.utils.rng import Rows

BUCKET, BUCKET_LOW = 25, 1  # MiB: DDP's default, whose first bucket is of 1, and the least that `auto` takes
HOOKS = {"none": DDPCommunicationHookType.NO, "bf16": DDPCommunicationHookType.BF16}


def build_accelerator(config: TrainConfig, environment: Mapping[str, str] = os.environ) -> tuple[Accelerator, str]:
    """The Accelerator and one line that says which precision is used and why.

    Without a GPU, processes that a launcher has started are joined through gloo on the CPU, whatever the launcher said.
    Raises LaunchError for an engine that holds one model only and for processes that do not know each other,
    LostProcess if the launcher or another process ends while they are joined.
    """
    check_launcher(environment)
    # a [1, n] weight's gradient has two equal ways to lie in memory; DDP warns on every rank that it is the other one
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    gpu = torch.accelerator.is_available() and not parse_flag_from_env("ACCELERATE_USE_CPU")
    precision, why = choose_precision(config.precision, environment.get("ACCELERATE_MIXED_PRECISION"), gpu)
    limit = InitProcessGroupKwargs(timeout=datetime.timedelta(minutes=config.timeout_minutes))
    try:
        accelerator = Accelerator(cpu=not gpu, mixed_precision=precision, kwargs_handlers=[limit])
    except dist.DistError as error:
        reason = str(error).strip().split("\n")[0]
        raise LostProcess(f"the processes could not be joined, nothing was lost: {reason}") from error
    # not among the handlers above: there Accelerate takes its own classes only
    hook = HOOKS[config.gradient_compression]
    accelerator.ddp_handler = Averaging(gradient_as_bucket_view=True, comm_hook=hook)
    check_connected(environment, accelerator.num_processes)
    if not gpu:
        torch.set_num_threads(config.cpu_threads or cpu_share(environment))
    return accelerator, f"precision {precision}: {why}"


class Averaging(DistributedDataParallelKwargs):
    """How DDP averages gradients over the ranks. Accelerate calls `register_comm_hook` for every network it wraps."""

    def register_comm_hook(self, model: DistributedDataParallel) -> None:
        # every rank computes the same buffers (batch_norm.py, spectral_norm.py); sending them before each forward costs
        model.broadcast_buffers = False
        if self.comm_hook is DDPCommunicationHookType.BF16:
            # not by its own name: under that, DDP takes it with NCCL only, but gloo adds up bf16, too
            model.register_comm_hook(None, lambda group, bucket: bf16_compress_hook(group, bucket))


def wrap(accelerator: Accelerator, network: nn.Module, bucket_mb: float | Literal["auto"]) -> nn.Module:
    """What averages the network's gradients over the processes; where there is one, the network itself."""
    if accelerator.ddp_handler is not None:
        gpu = accelerator.device.type != "cpu"
        accelerator.ddp_handler.bucket_cap_mb = bucket_size(network, gpu) if bucket_mb == "auto" else bucket_mb
    return accelerator.prepare(network)


def end(accelerator: Accelerator) -> None:
    """Takes this process out of its group; its networks are free before. The caller holds no trainer any more.

    In the other order DDP's reducer, freed last, takes the group with it while it holds Python's lock, for which the
    group's own thread may be waiting: both for ever (gloo, seen with torch 2.13).
    """
    accelerator.free_memory()
    gc.collect()  # a trainer and its networks know each other
    accelerator.end_training()


def bucket_size(network: nn.Module, gpu: bool) -> float:
    """MiB of gradients that DDP sends together. After a first MiB, its default holds all of a small GAN's, and little
    travels before backward has ended. On GPUs other sizes have not been measured."""
    size = sum(weight.numel() * weight.element_size() for weight in network.parameters()) / 2**20
    return BUCKET if gpu else min(max(size / 8, BUCKET_LOW), BUCKET)


def choose_precision(wanted: str, launcher: str | None, gpu: bool) -> tuple[str, str]:
    """(mixed precision, reason). fp16 or bf16 from the launcher wins; its `no` cannot be told from silence, so the
    configuration decides; `auto` is bf16 on a GPU that has it. Raises ConfigError for fp16 without a GPU."""
    if launcher in ("fp16", "bf16"):
        precision, why = launcher, "set by the launcher"
    elif launcher not in (None, "", "no"):
        raise ConfigError(f"the launcher's --mixed_precision {launcher} is not supported; use no, fp16 or bf16")
    elif wanted != "auto":
        precision, why = wanted, f"train.precision={wanted}"
    elif gpu and torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False):
        precision, why = "bf16", "train.precision=auto on a GPU with bf16"
    else:
        precision, why = "no", "train.precision=auto without a bf16 GPU"
    if precision == "fp16" and not gpu:
        raise ConfigError("fp16 needs a GPU (on the CPU it would silently be fp32); use bf16 or no")
    return precision, why


def cpu_share(environment: Mapping[str, str]) -> int:
    """This machine's cores, shared out among its processes (`accelerate launch` gives every process one thread).

    SLURM starts processes without a launcher; where it binds them to cores, these are the process's own.
    """
    mine, all_cores = len(os.sched_getaffinity(0)), os.cpu_count() or 1
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE", "1").split("(")[0].split(",")[0] if mine == all_cores else "1"
    return max(mine // int(environment.get("LOCAL_WORLD_SIZE", tasks)), 1)


def batch_rows(batch: int, accumulation: int, rank: int, world: int) -> Rows:
    """This rank's rows of the global batch. Raises ConfigError if the batch cannot be cut evenly."""
    unit = world * accumulation
    if batch % unit:
        low = batch // unit * unit
        nearest = f"{low} or {low + unit}" if low else str(unit)
        raise ConfigError(
            f"train.batch_size={batch} is not a multiple of processes * train.accumulation = {world} * {accumulation} "
            f"= {unit}; nearest valid: {nearest}"
        )
    return Rows(0, batch, batch).part(rank, world)
