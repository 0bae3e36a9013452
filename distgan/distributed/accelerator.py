"""The Accelerator, the precision, DDP, and the division of batches and cores among the processes.

Nothing here starts processes; the launcher does (accelerate launch, torchrun, srun).
"""

from __future__ import annotations

import contextlib
import datetime
import gc
import multiprocessing
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
import torch.distributed as dist
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import DDPCommunicationHookType, GradientAccumulationPlugin, parse_flag_from_env
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel

from distgan.config.schema import TrainConfig
from distgan.distributed.collectives import in_group, join_again, remember_group
from distgan.distributed.launcher import check_connected, check_launcher, launcher_command, local_processes
from distgan.utils.errors import ConfigError, LostProcess
from distgan.utils.rng import Rows
from distgan.utils.safe_io import printable
from distgan.utils.system import usable_cores

MIN_BUCKET, MAX_BUCKET = 1, 25  # MiB; the maximum is DDP's default, whose first bucket has 1
COMPRESSION_HOOKS = {"none": DDPCommunicationHookType.NO, "bf16": DDPCommunicationHookType.BF16}


def build_accelerator(config: TrainConfig, environment: Mapping[str, str] = os.environ) -> tuple[Accelerator, str]:
    """Builds the Accelerator. Also returns a line with the precision and the reason for it.

    Without a GPU, processes that a launcher has started are joined through gloo on the CPU, whatever its options are.
    Its precision is its own: it neither takes that of an Accelerator before it nor gives its own to one after it.
    Raises LaunchError for an engine that holds one model only and for processes that do not know each other,
    LostProcess if the launcher or another process ends while they are joined.
    """
    check_launcher(environment)
    # the gradient of a [1, n] weight has two equivalent memory layouts; DDP warns on every rank about one of them
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    gpu = torch.accelerator.is_available() and not parse_flag_from_env("ACCELERATE_USE_CPU")
    precision, reason = choose_precision(config.precision, environment.get("ACCELERATE_MIXED_PRECISION"), gpu)
    limit = InitProcessGroupKwargs(timeout=datetime.timedelta(minutes=config.timeout_minutes))
    try:
        if not in_group():
            if environment.get("WORLD_SIZE", "1") not in ("", "1"):
                PartialState._shared_state.clear()  # of a notebook alone, which this process was forked from
            join_again(config.timeout_minutes, backend_of(gpu))
        with _state_of():
            accelerator = Accelerator(
                cpu=not gpu,
                mixed_precision=precision,
                kwargs_handlers=[limit],
                dynamo_backend="no",  # these two would come from the launcher: see `overruled`
                gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
            )
    except dist.DistError as error:
        first_line = str(error).strip().split("\n")[0]
        raise LostProcess(f"the processes could not be joined, nothing was lost: {first_line}") from error
    remember_group()
    # not among the handlers above, where Accelerate accepts only its own classes
    hook = COMPRESSION_HOOKS[config.gradient_compression]
    accelerator.ddp_handler = GradientAveraging(gradient_as_bucket_view=True, comm_hook=hook)
    check_connected(environment, accelerator.num_processes)
    if not gpu:
        torch.set_num_threads(config.cpu_threads or cpu_share(environment))
    return accelerator, f"precision {'float32' if precision == 'no' else precision}: {reason}"


def backend_of(gpu: bool) -> str:
    """The backend of the processes' collectives: torch's for this machine's kind of device (nccl, ...), or gloo."""
    device = torch.accelerator.current_accelerator() if gpu else None
    return dist.get_default_backend_for_device(device or "cpu")


@contextlib.contextmanager
def _state_of(accelerator: Accelerator | None = None) -> Iterator[None]:
    """A context in which Accelerate knows the states of this Accelerator, instead of those that a process shares.

    None: it makes new ones.
    """
    shared = AcceleratorState._shared_state, GradientState._shared_state
    own = ({}, {}) if accelerator is None else (accelerator.state.__dict__, accelerator.gradient_state.__dict__)
    AcceleratorState._shared_state, GradientState._shared_state = own
    try:
        yield
    finally:
        AcceleratorState._shared_state, GradientState._shared_state = shared


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """A context for one training: what it changes in this process is put back at its end.

    That is Accelerate's knowledge of the processes, torch's number of threads, filters of warnings, the environment.
    A process of `notebook_launcher` keeps the training's number of threads: it was forked, and where the notebook has
    computed with several threads before, GNU's OpenMP would hang in the first loop of several threads.
    """
    processes, threads, variables = dict(PartialState._shared_state), torch.get_num_threads(), dict(os.environ)
    try:
        with warnings.catch_warnings():
            yield
    finally:
        if multiprocessing.parent_process() is None:
            torch.set_num_threads(threads)
        PartialState._shared_state.clear()
        PartialState._shared_state.update(processes)
        for name in os.environ.keys() - variables.keys():
            del os.environ[name]
        os.environ.update({name: value for name, value in variables.items() if os.environ.get(name) != value})


def overruled(
    config: TrainConfig, environment: Mapping[str, str] = os.environ, launcher: Sequence[str] | None = None
) -> list[str]:
    """Sentences about options of the launcher that have no effect, since the configuration decides.

    launcher: its command line, without which `accelerate launch` hides its --gradient_accumulation_steps; None: that of
    this process's launcher.
    """
    launcher = launcher_command() if launcher is None else launcher
    backend = environment.get("ACCELERATE_DYNAMO_BACKEND", "")
    steps = environment.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS") or _option(
        launcher, "gradient_accumulation_steps"
    )
    lines = []
    if backend.lower() not in ("", "no"):
        lines.append(
            f"the launcher's dynamo backend {backend.lower()} has no effect: train.compile={config.compile} decides"
        )
    if steps not in ("", "1"):
        lines.append(
            f"the launcher's gradient_accumulation_steps {steps} has no effect: "
            f"train.accumulation={config.accumulation} decides"
        )
    return [printable(line) for line in lines]


def _option(command: Sequence[str], name: str) -> str:
    """The value of --name in the command line of `accelerate launch`, empty if it is not given."""
    for number, word in enumerate(command, 1):
        if word.endswith(".py") and number > 2:  # the script: what follows is its own
            break
        option, equals, value = word.removeprefix("--").replace("-", "_").partition("=")
        if word.startswith("--") and option == name:
            return value if equals else "".join(command[number : number + 1])
    return ""


class GradientAveraging(DistributedDataParallelKwargs):  # type: ignore[misc]
    """How DDP averages gradients over the ranks. Accelerate calls `register_comm_hook` for every network it wraps."""

    def register_comm_hook(self, model: DistributedDataParallel) -> None:
        # every rank computes the same buffers (batch_norm.py, spectral_norm.py): DDP need not send them
        model.broadcast_buffers = False
        if self.comm_hook is DDPCommunicationHookType.BF16:
            # in another function: DDP refuses bf16_compress_hook itself without NCCL, though gloo can sum bf16
            model.register_comm_hook(None, lambda group, bucket: bf16_compress_hook(group, bucket))


def wrap(accelerator: Accelerator, network: nn.Module, bucket_mb: float | Literal["auto"]) -> nn.Module:
    """The network in DDP, which averages its gradients over the processes; with one process, the network itself.

    bucket_mb: MiB of gradients that DDP sends together, or "auto".
    """
    if accelerator.ddp_handler is not None:
        gpu = accelerator.device.type != "cpu"
        accelerator.ddp_handler.bucket_cap_mb = bucket_size(network, gpu) if bucket_mb == "auto" else bucket_mb
    with _state_of(accelerator):
        return accelerator.prepare(network)


def autocast(accelerator: Accelerator) -> torch.autocast:
    """The mixed precision that Accelerate has around a network's `forward`, for its other methods."""
    half = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(accelerator.mixed_precision)
    return torch.autocast(accelerator.device.type, half, enabled=half is not None)


def leave_group(accelerator: Accelerator, destroy: bool = True) -> None:
    """Frees the networks, then takes this process out of its group. The caller holds no trainer any more.

    destroy: false for a group that was there before the Accelerator: it is left to whoever made it.

    In the other order DDP's reducer, freed last, destroys the group while it holds Python's lock. The group's own
    thread may wait for that lock: both hang for ever (gloo, seen with torch 2.13).
    """
    accelerator.free_memory()
    gc.collect()  # a trainer and its networks refer to each other
    if destroy:
        accelerator.end_training()


def bucket_size(network: nn.Module, gpu: bool) -> float:
    """MiB of gradients that DDP sends together for `auto`: an eighth of the network on the CPU, DDP's default on a GPU.

    The default would hold all gradients of a small GAN, so that nearly all are sent after backward has ended. On GPUs
    other sizes have not been measured.
    """
    size = sum(weight.numel() * weight.element_size() for weight in network.parameters()) / 2**20
    return MAX_BUCKET if gpu else min(max(size / 8, MIN_BUCKET), MAX_BUCKET)


def choose_precision(configured: str, launcher: str | None, gpu: bool) -> tuple[str, str]:
    """(mixed precision: no, fp16 or bf16; the reason).

    configured: train.precision; `auto` is bf16 on a GPU that has it. launcher: its --mixed_precision; fp16 and bf16
    have priority, but `no` may be its default, so that the configuration decides. Raises ConfigError for fp16 without
    a GPU.
    """
    if launcher in ("fp16", "bf16"):
        precision, reason = launcher, "set by the launcher"
    elif launcher not in (None, "", "no"):
        raise ConfigError(f"the launcher's --mixed_precision {launcher} is not supported; use no, fp16 or bf16")
    elif configured != "auto":
        precision, reason = configured, f"train.precision={configured}"
    elif gpu and torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False):
        precision, reason = "bf16", "train.precision=auto on a GPU with bf16"
    else:
        precision, reason = "no", "train.precision=auto, and no GPU with bf16"
    if precision == "fp16" and not gpu:
        raise ConfigError("fp16 needs a GPU (on the CPU it would silently be fp32); use bf16 or no")
    return precision, reason


def cpu_share(environment: Mapping[str, str]) -> int:
    """Cores of this machine per process, for torch's threads (`accelerate launch` gives every process one thread).

    SLURM starts processes without a launcher. If it binds each to cores of its own, the process uses all of them.
    """
    usable, all_cores = usable_cores(), os.cpu_count() or 1
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE", "1").split("(")[0].split(",")[0]
    return max(usable // local_processes(environment, tasks if usable == all_cores else "1"), 1)


def batch_rows(batch: int, accumulation: int, rank: int, world: int) -> Rows:
    """This rank's rows of the global batch. Raises ConfigError if the batch cannot be divided evenly."""
    unit = world * accumulation
    if batch % unit:
        low = batch // unit * unit
        nearest = f"{low} or {low + unit}" if low else str(unit)
        raise ConfigError(
            f"train.batch_size={batch} is not a multiple of processes * train.accumulation = {world} * {accumulation} "
            f"= {unit}; nearest valid: {nearest}"
        )
    return Rows(0, batch, batch).part(rank, world)


def own_rows(config: TrainConfig, accelerator: Accelerator) -> Rows:
    """This process's rows of the global batch. Raises ConfigError if the batch cannot be divided evenly."""
    return batch_rows(config.batch_size, config.accumulation, accelerator.process_index, accelerator.num_processes)
