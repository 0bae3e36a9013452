"""What started this process: whether it is still there, and whether it started processes that can train a GAN.

Imported before torch: standard library, psutil and distgan's errors only.

SIGTERM to a single-process launcher, or SIGKILL to any, leaves its trainers running. A trainer notices this, whether it
is in its loop (`stop.StopSignal`) or still starting (`signals.Signals`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from distgan.utils.errors import LaunchError

LAUNCHER_VARIABLES = ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID")  # set by launchers
WORKER_VARIABLE = "TORCHELASTIC_RESTART_COUNT"  # set for each rank by the launcher of several, and by nobody else
ONE_MODEL_ENGINES = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}
NUMBERS = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")
FLAGS = ("ACCELERATE_USE_CPU", "ACCELERATE_DEBUG_MODE")  # that Accelerate reads
YES, NO = ("y", "yes", "t", "true", "on", "1"), ("", "n", "no", "f", "false", "off", "0")
PROCESS_COUNTS = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")


def is_orphan(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the launcher of this rank had ended before this module was imported: an init process adopted the rank."""
    if WORKER_VARIABLE not in environment:
        return False
    command = _command_line(parent := os.getppid())
    name = os.path.basename(command[0]).lower() if command else ""
    return "python" not in name and (parent == 1 or name == "systemd")


def find_launcher(environment: Mapping[str, str] = os.environ) -> int | None:
    """The process id of the launcher that started this process; None where there was none.

    Launchers are Python programs. A shell may have their variables too, exported by hand or left over.
    """
    parent = os.getppid()
    if not any(name in environment for name in LAUNCHER_VARIABLES):
        return None
    command = _command_line(parent)
    return parent if command and "python" in os.path.basename(command[0]).lower() else None


def _command_line(process: int) -> list[str]:
    import psutil  # type: ignore[import-untyped]  # accelerate needs it too

    try:
        return list(psutil.Process(process).cmdline())
    except (psutil.Error, OSError):
        return []


LAUNCHER, ORPHAN = find_launcher(), is_orphan()


def launcher_command() -> list[str]:
    """The command line of this process's launcher, if that is `accelerate launch`; else []."""
    command = _command_line(LAUNCHER) if LAUNCHER is not None else []
    return command if any("accelerate" in word for word in command[:4]) else []


def launcher_died() -> bool:
    """Whether a launcher started this process and has ended."""
    return ORPHAN or (LAUNCHER is not None and os.getppid() != LAUNCHER)


def local_processes(environment: Mapping[str, str], unknown: str = "1") -> int:
    """Number of processes of this launch on this machine. unknown: where no launcher says it."""
    text = environment.get("LOCAL_WORLD_SIZE", unknown)
    return max(int(text), 1) if text.isdecimal() else 1


def check_launcher(environment: Mapping[str, str]) -> None:
    """Raises LaunchError for an engine of one model, for a rendezvous that was not given, and for nonsense."""
    for variable, engine in ONE_MODEL_ENGINES.items():
        if environment.get(variable, "false").lower() in ("true", "1", "yes"):
            raise LaunchError(
                f"{engine} shards one model, a GAN has two: launch without it, for instance "
                "`accelerate launch --multi_gpu --num_processes N distgan/train.py`"
            )
    world = environment.get("WORLD_SIZE", "1")
    for name in NUMBERS if world not in ("", "1") else ():
        if not re.fullmatch("[0-9]{0,9}", environment.get(name, "")):
            raise LaunchError(
                f"{name}={environment[name]} is no number; launchers set it: start the processes with one, such as "
                "`accelerate launch --multi_gpu`, or unset it"
            )
    for name in FLAGS:
        if environment.get(name, "").lower() not in (*YES, *NO):
            raise LaunchError(f"{name}={environment[name]} is neither true nor false; set it to true, or unset it")
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
