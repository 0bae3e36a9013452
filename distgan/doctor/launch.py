"""How the processes are started: the environment and accelerate's own default file, read without starting anything."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from distgan.distributed.launcher import check_connected, check_launcher
from distgan.doctor.finding import Finding, fail, ok, warn
from distgan.utils.errors import LaunchError

WORDS = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
ONE_MODEL = ("FSDP", "DEEPSPEED", "MEGATRON_LM")
SEVERAL = "`accelerate launch --multi_gpu --num_processes N -m distgan.doctor`"


def environment_findings(environment: Mapping[str, str], processes: int) -> list[Finding]:
    """processes: that have met, 1 before any has."""
    what = "wiring"
    try:
        check_launcher(environment)
        check_connected(environment, processes)
    except LaunchError as error:
        return [fail(what, str(error), "start this again in that way")]
    tasks = environment.get("SLURM_NTASKS", "1")
    if processes == 1 and tasks.isdigit() and int(tasks) > 1 and "SLURM_STEP_NUM_TASKS" not in environment:
        text = f"this SLURM job has {tasks} tasks, but this process was not started by srun"
        return [warn(what, text, "look at how launch/slurm.sbatch starts its tasks, and start this in their place")]
    if processes == 1:
        return [ok(what, f"one process; to look at several as they will be launched: {SEVERAL}")]
    told = ", ".join(f"{name}={environment[name]}" for name in WORDS if environment.get(name))
    return [ok(what, f"{processes} processes: {told}")]


def defaults_file(environment: Mapping[str, str] = os.environ) -> Path | None:
    """What `accelerate launch` reads where no --config_file is given, if it is there."""
    cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(environment.get("HF_HOME") or cache / "huggingface").expanduser()
    places = [home / "accelerate" / f"default_config.{kind}" for kind in ("json", "yaml")]
    return next((place for place in places if place.is_file()), None)


def defaults_findings(path: Path | None, gpus: int) -> list[Finding]:
    """Whether that file says something that a plain `accelerate launch` would surprise with."""
    what = "accelerate"
    if path is None:
        return [ok(what, "has no default file: what `accelerate launch` is told counts")]
    change = "pass --config_file launch/gpu_8.yaml or another of launch/, or write it anew with `accelerate config`"
    text = path.read_text()
    try:
        told: Any = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        told = None
    if not isinstance(told, dict):
        return [warn(what, f"its default file {path} cannot be read", change)]
    return [warn(what, f"its default file {path} {line}", change) for line in surprises(told, gpus)] or [
        ok(what, f"its default file {path} says nothing surprising")
    ]


def surprises(told: Mapping[str, Any], gpus: int) -> list[str]:
    """In words, what in accelerate's default file does not go with distgan on this machine."""
    kind, count = str(told.get("distributed_type", "NO")), told.get("num_processes", 1)
    lines = []
    if kind in ONE_MODEL:
        lines.append(f"says distributed_type: {kind}, which holds one model, and a GAN has two")
    if kind == "MULTI_CPU":
        lines.append("says distributed_type: MULTI_CPU, which starts one process only unless mpirun is there")
    if told.get("mixed_precision", "no") not in ("no", "fp16", "bf16"):
        lines.append(f"says mixed_precision: {told['mixed_precision']}, which distgan does not have")
    if isinstance(count, int) and gpus and count > gpus and not told.get("use_cpu"):
        lines.append(f"says num_processes: {count}, and this machine has {gpus} GPU(s)")
    if isinstance(told.get("num_machines"), int) and told["num_machines"] > 1:
        lines.append(f"says num_machines: {told['num_machines']}: a launch waits for the others")
    if told.get("use_cpu") and gpus:
        lines.append("says use_cpu: true, though there is a GPU")
    return lines
