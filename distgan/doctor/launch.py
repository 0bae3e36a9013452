"""The launch: the environment of the processes, and accelerate's own default file. Nothing is started."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from distgan.config.schema import TrainConfig
from distgan.distributed.accelerator import overruled
from distgan.distributed.launcher import check_connected, check_launcher
from distgan.doctor.check_result import CheckResult, fail, ok, warn
from distgan.utils.errors import LaunchError
from distgan.utils.system import cache_home

LAUNCH_VARIABLES = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
ONE_MODEL = ("FSDP", "DEEPSPEED", "MEGATRON_LM")
SEVERAL = "`accelerate launch --multi_gpu --num_processes N -m distgan.doctor`"


def check_environment(environment: Mapping[str, str], processes: int) -> list[CheckResult]:
    """Whether the processes can find each other. processes: that are connected; 1 before they are."""
    what = "wiring"
    try:
        check_launcher(environment)
        check_connected(environment, processes)
    except LaunchError as error:
        return [fail(what, str(error), "run this again with the fixed launch")]
    tasks = environment.get("SLURM_NTASKS", "1")
    if processes == 1 and tasks.isdigit() and int(tasks) > 1 and "SLURM_STEP_NUM_TASKS" not in environment:
        text = f"this SLURM job has {tasks} tasks, but this process was not started by srun"
        return [warn(what, text, "start this as launch/slurm.sbatch starts its tasks")]
    if processes == 1:
        return [ok(what, f"one process; to check several, launch this as you launch the training: {SEVERAL}")]
    values = ", ".join(f"{name}={environment[name]}" for name in LAUNCH_VARIABLES if environment.get(name))
    return [ok(what, f"{processes} processes: {values}")]


def check_overruled(config: TrainConfig, environment: Mapping[str, str]) -> list[CheckResult]:
    """Warns of the launcher's options that training ignores."""
    advice = "leave it out, so that nobody relies on it"
    return [warn("launcher", line, advice) for line in overruled(config, environment)]


def find_defaults_file(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The file that `accelerate launch` reads if it is given no --config_file; None if there is none."""
    cache, given = cache_home(environment), environment.get("HF_HOME")
    if not given and cache is None:
        return None
    home = Path(os.path.expanduser(given)) if given else Path(cache or "", "huggingface")
    paths = [home / "accelerate" / f"default_config.{kind}" for kind in ("json", "yaml")]
    return next((path for path in paths if path.is_file()), None)


def check_defaults_file(path: Path | None, gpus: int) -> list[CheckResult]:
    """Whether that file has settings that do not work with distgan on this machine. gpus: of this machine."""
    what = "accelerate"
    if path is None:
        return [ok(what, "there is no default file: only the options of `accelerate launch` count")]
    advice = "pass --config_file launch/gpu_8.yaml or another of launch/, or rewrite it with `accelerate config`"
    text = path.read_text()
    try:
        settings: Any = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        settings = None
    if not isinstance(settings, dict):
        return [warn(what, f"its default file {path} cannot be read", advice)]
    return [warn(what, f"its default file {path} {line}", advice) for line in unsuitable(settings, gpus)] or [
        ok(what, f"its default file {path} suits distgan")
    ]


def unsuitable(settings: Mapping[str, Any], gpus: int) -> list[str]:
    """The settings of accelerate's default file that do not work with distgan on this machine, each as a phrase."""
    kind, count = str(settings.get("distributed_type", "NO")), settings.get("num_processes", 1)
    lines = []
    if kind in ONE_MODEL:
        lines.append(f"says distributed_type: {kind}, which holds one model, and a GAN has two")
    if kind == "MULTI_CPU":
        lines.append("says distributed_type: MULTI_CPU, which starts one process only unless mpirun is installed")
    if settings.get("mixed_precision", "no") not in ("no", "fp16", "bf16"):
        lines.append(f"says mixed_precision: {settings['mixed_precision']}, which distgan does not have")
    dynamo = settings.get("dynamo_config")
    backend = dynamo.get("dynamo_backend", dynamo.get("backend")) if isinstance(dynamo, Mapping) else None
    if str(backend or "no").lower() != "no":
        lines.append(f"says dynamo_backend: {backend}, which has no effect: train.compile decides")
    if isinstance(count, int) and gpus and count > gpus and not settings.get("use_cpu"):
        lines.append(f"says num_processes: {count}, and this machine has {gpus} GPU(s)")
    if isinstance(settings.get("num_machines"), int) and settings["num_machines"] > 1:
        lines.append(f"says num_machines: {settings['num_machines']}: a launch waits for the others")
    if settings.get("use_cpu") and gpus:
        lines.append("says use_cpu: true, though there is a GPU")
    return lines
