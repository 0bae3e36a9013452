"""What started this process: whether it is still there, and whether it started processes that can train a GAN.

Imported before torch: standard library and distgan's errors only.

SIGTERM to a single-process launcher, or SIGKILL to any, leaves its trainers running. A trainer in its loop notices
this (`stop.StopSignal`), saves and stops. One that is still starting has nothing to save, but may hang in a call that
waits for the launcher: `watch` ends it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping

from distgan.utils.errors import LaunchError

PARENT = os.getppid()
LAUNCHER_VARIABLES = ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID")  # set by launchers
ONE_MODEL_ENGINES = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}
PROCESS_COUNTS = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
trains = threading.Event()
"""Set when the training loop watches the launcher itself."""


def launcher_died(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a launcher started this process and has ended."""
    return any(name in environment for name in LAUNCHER_VARIABLES) and os.getppid() != PARENT


def watch(seconds: float = 1.0) -> None:
    """Until training begins, ends this process (exit code 143) soon after its launcher has ended.

    seconds: between two looks at the launcher, by a daemon thread.
    """

    def wait_and_end() -> None:
        while not trains.wait(seconds):
            if launcher_died():
                print("the launcher has ended before training began; nothing was lost", file=sys.stderr, flush=True)
                os._exit(128 + signal.SIGTERM)

    if any(name in os.environ for name in LAUNCHER_VARIABLES):
        threading.Thread(target=wait_and_end, name="launcher", daemon=True).start()


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
