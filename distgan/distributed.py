"""How the processes are wired: the Accelerator, the precision, and a stop that all ranks agree on.

Nothing here starts processes; that is the launcher's work (accelerate launch, torchrun, srun).
"""

from __future__ import annotations

import datetime
import os
import signal
from collections.abc import Mapping
from types import FrameType, TracebackType
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs

from distgan.config import Config
from distgan.errors import ConfigError, LaunchError
from distgan.rng import Rows

ONE_MODEL_ENGINES = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}
PROCESS_COUNTS = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")


def build_accelerator(config: Config, environment: Mapping[str, str] = os.environ) -> tuple[Accelerator, str]:
    """The Accelerator and one line that says which precision is used and why.

    Without a GPU, processes that a launcher has started are joined through gloo on the CPU, whatever the launcher said.
    Raises LaunchError for an engine that holds one model only and for processes that do not know each other.
    """
    check_launcher(environment)
    gpu = torch.accelerator.is_available()
    precision, why = choose_precision(config.train.precision, environment.get("ACCELERATE_MIXED_PRECISION"), gpu)
    accelerator = Accelerator(
        cpu=not gpu,
        mixed_precision=precision,
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=datetime.timedelta(minutes=config.train.timeout_minutes)),
            DistributedDataParallelKwargs(gradient_as_bucket_view=True),
        ],
    )
    check_connected(environment, accelerator.num_processes)
    if not gpu:
        torch.set_num_threads(config.train.cpu_threads or cpu_share(environment))
    return accelerator, f"precision {precision}: {why}"


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
    """This machine's cores, shared out among its processes (`accelerate launch` gives every process one thread)."""
    return max(len(os.sched_getaffinity(0)) // int(environment.get("LOCAL_WORLD_SIZE", "1")), 1)


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


class StopSignal:
    """SIGINT and SIGTERM, turned into a decision that all ranks take at the same step.

    Each step's all-reduce (one int, on the host, over gloo) is read one step later, so nobody waits for it, and no
    device is involved. Further signals change nothing.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.received = 0
        self._group: Any = dist.new_group(backend="gloo") if accelerator.num_processes > 1 else None
        self._pending: tuple[Any, torch.Tensor] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        for signum in (signal.SIGINT, signal.SIGTERM):
            self._before[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        if kind is None:
            self._collect()
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def agreed(self) -> int:
        """The signal to stop for, the same on every rank, or 0. Called once per step."""
        if self._group is None:
            return self.received
        decision = self._collect()
        flag = torch.tensor([self.received])
        self._pending = dist.all_reduce(flag, dist.ReduceOp.MAX, group=self._group, async_op=True), flag
        return decision

    def _collect(self) -> int:
        if self._pending is None:
            return 0
        work, flag = self._pending
        work.wait()
        self._pending = None
        return int(flag.item())

    def _note(self, signum: int, _frame: FrameType | None) -> None:
        self.received = self.received or signum
