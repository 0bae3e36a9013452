"""How the processes are wired: the Accelerator, the precision, and a stop that all ranks agree on.

Nothing here starts processes; that is the launcher's work (accelerate launch, torchrun, srun).
"""

from __future__ import annotations

import datetime
import gc
import os
import signal
import warnings
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.utils import DDPCommunicationHookType, broadcast_object_list, parse_flag_from_env
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel

from distgan.config.schema import Config
from distgan.distributed import launcher
from distgan.utils.errors import ConfigError, DistganError, LaunchError, LostProcess
from distgan.utils.rng import Rows

T = TypeVar("T")
RULE = 100  # a reason to stop that is no signal: a rule of the configuration
TIME = 1  # another one: train.seconds are used up; it gives way to every other reason, and training ends in full
ONE_MODEL_ENGINES = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}
BUCKET, BUCKET_LOW = 25, 1  # MiB: DDP's default, whose first bucket is of 1, and the least that `auto` takes
HOOKS = {"none": DDPCommunicationHookType.NO, "bf16": DDPCommunicationHookType.BF16}
PROCESS_COUNTS = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")


def build_accelerator(config: Config, environment: Mapping[str, str] = os.environ) -> tuple[Accelerator, str]:
    """The Accelerator and one line that says which precision is used and why.

    Without a GPU, processes that a launcher has started are joined through gloo on the CPU, whatever the launcher said.
    Raises LaunchError for an engine that holds one model only and for processes that do not know each other,
    LostProcess if the launcher or another process ends while they are joined.
    """
    check_launcher(environment)
    # a [1, n] weight's gradient has two equal ways to lie in memory; DDP warns on every rank that it is the other one
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    gpu = torch.accelerator.is_available() and not parse_flag_from_env("ACCELERATE_USE_CPU")
    precision, why = choose_precision(config.train.precision, environment.get("ACCELERATE_MIXED_PRECISION"), gpu)
    limit = InitProcessGroupKwargs(timeout=datetime.timedelta(minutes=config.train.timeout_minutes))
    try:
        accelerator = Accelerator(cpu=not gpu, mixed_precision=precision, kwargs_handlers=[limit])
    except dist.DistError as error:
        reason = str(error).strip().split("\n")[0]
        raise LostProcess(f"the processes could not be joined, nothing was lost: {reason}") from error
    # not among the handlers above: there Accelerate takes its own classes only
    hook = HOOKS[config.train.gradient_compression]
    accelerator.ddp_handler = Averaging(gradient_as_bucket_view=True, comm_hook=hook)
    check_connected(environment, accelerator.num_processes)
    if not gpu:
        torch.set_num_threads(config.train.cpu_threads or cpu_share(environment))
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


def check_launcher(environment: Mapping[str, str]) -> None:
    """Raises LaunchError for an engine that holds one model only, and for a rendezvous that was not given."""
    for variable, engine in ONE_MODEL_ENGINES.items():
        if environment.get(variable, "false").lower() in ("true", "1", "yes"):
            raise LaunchError(
                f"{engine} shards one model, a GAN has two: launch without it, for instance "
                "`accelerate launch --multi_gpu --num_processes N distgan/train.py`"
            )
    world = environment.get("WORLD_SIZE", "1")
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not environment.get(name)]
    if world not in ("", "1") and missing:
        raise LaunchError(
            f"WORLD_SIZE={world} but {', '.join(missing)} not set, so the processes cannot find each other; start them "
            f"with `accelerate launch --multi_gpu --num_processes {world} distgan/train.py`, or unset WORLD_SIZE"
        )


def check_connected(environment: Mapping[str, str], processes: int) -> None:
    """Raises LaunchError if a launcher started more processes than have found each other."""
    for variable in PROCESS_COUNTS:
        started = environment.get(variable, "1")
        if started.isdigit() and int(started) > processes:
            raise LaunchError(
                f"{variable}={started} processes were started, but this one knows only {processes}: they would train "
                f"{started} separate models; start them with `accelerate launch --multi_gpu --num_processes {started} "
                f"distgan/train.py` or `torchrun --nproc_per_node {started} distgan/train.py`"
            )


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


def on_main(accelerator: Accelerator, call: Callable[[], T]) -> T:
    """What `call` returns on the main process, on every rank; its DistganError or OSError is raised on every rank."""
    outcome: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            outcome[0] = call()
        except DistganError as error:
            error.everywhere = True
            outcome[1] = error
        except OSError as error:
            outcome[1] = LaunchError(str(error))
    result, failure = broadcast_object_list(outcome)
    if failure is not None:
        raise failure
    return result


def gloo_group(accelerator: Accelerator, minutes: float) -> Any:
    """A group on the host for words between the processes, or None where there is one process. Raises LaunchError."""
    if accelerator.num_processes == 1:
        return None
    try:
        return dist.new_group(backend="gloo", timeout=datetime.timedelta(minutes=minutes))
    except RuntimeError as error:
        raise LaunchError(
            f"the processes cannot talk over the network ({str(error).splitlines()[0]}); set GLOO_SOCKET_IFNAME to the "
            "name of the network interface between the machines"
        ) from None


class StopSignal:
    """SIGINT, SIGTERM and the end of the time, turned into a decision that all ranks take at the same step.

    Each step's all-reduce (one int, on the host, over gloo) is read one step later, so nobody waits for it, and no
    device is involved. Further signals change nothing. A launcher that has died counts as SIGTERM.
    """

    def __init__(self, accelerator: Accelerator, minutes: float) -> None:
        """minutes: how long a rank waits for the others."""
        self.received = 0
        self._group = gloo_group(accelerator, minutes)
        self._pending: tuple[Any, torch.Tensor] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        launcher.trains.set()
        for signum in (signal.SIGINT, signal.SIGTERM):
            self._before[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def agreed(self) -> int:
        """The reason to stop, the same on every rank, or 0. Called once per step."""
        if launcher.gone():
            self.request(signal.SIGTERM)
        if self._group is None:
            return self.received
        decision = self._collect()
        flag = torch.tensor([self.received])
        self._pending = dist.all_reduce(flag, dist.ReduceOp.MAX, group=self._group, async_op=True), flag
        return decision

    def request(self, reason: int) -> None:
        """Asks all ranks to stop; reason: a signal's number, RULE or TIME."""
        if self.received in (0, TIME):
            self.received = reason

    @property
    def hurried(self) -> bool:
        """Whether this rank has heard of a reason to stop with little time left."""
        return self.received not in (0, TIME)

    def wait_for_all(self) -> None:
        """Returns when every rank has come here: nobody leaves while another still writes."""
        self._collect()
        if self._group is not None:
            dist.barrier(group=self._group)

    def _collect(self) -> int:
        if self._pending is None:
            return 0
        work, flag = self._pending
        work.wait()
        self._pending = None
        return int(flag.item())

    def _note(self, signum: int, _frame: FrameType | None) -> None:
        self.request(signum)
