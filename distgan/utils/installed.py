"""What is installed and what it would run on, found in milliseconds: torch is not imported, no GPU is initialised."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import runpy
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from distgan.utils.system import usable_cores
from distgan.utils.version import __version__

SMI = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
SMI_SECONDS = 10.0  # a GPU that nobody uses may need some of them to wake up


def installed_version(name: str) -> str | None:
    """The version of a library, or None if it is missing."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def built_for(cuda: str | None, hip: str | None) -> str | None:
    """The GPUs that a torch was built for, or None for the CPU alone. cuda, hip: as in torch.version."""
    return f"CUDA {cuda}" if cuda else f"ROCm {hip}" if hip else None


def describe_installation(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The lines of `distgan --version`: distgan, Python, torch, accelerate, devices."""
    return [
        f"distgan {__version__}",
        f"python {platform.python_version()}",
        describe_torch(),
        f"accelerate {installed_version('accelerate') or 'is not installed'}",
        f"devices: {describe_gpus(environment)}; {usable_cores()} CPU core(s)",
    ]


def describe_torch() -> str:
    """The version of torch with its build, as torch/version.py has them: that file imports nothing."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return "torch is not installed"
    facts = runpy.run_path(str(Path(spec.origin).with_name("version.py")))
    return f"torch {facts['__version__']}, built for {built_for(facts['cuda'], facts['hip']) or 'the CPU'}"


def describe_gpus(environment: Mapping[str, str]) -> str:
    """The GPUs of this machine as nvidia-smi lists them, equal ones counted; its own words if it fails."""
    if sys.platform == "darwin":
        return "Apple's GPU (mps)" if platform.machine() == "arm64" else "no GPU"
    if shutil.which(SMI[0], path=environment.get("PATH")) is None:
        return "no NVIDIA GPU"
    try:
        done = subprocess.run(SMI, env=dict(environment), capture_output=True, text=True, timeout=SMI_SECONDS)
    except subprocess.TimeoutExpired:
        return f"nvidia-smi does not answer within {SMI_SECONDS:.0f} s"
    lines = (done.stdout.strip() or done.stderr.strip() or f"exit code {done.returncode}").splitlines()
    if done.returncode:
        return f"nvidia-smi fails ({lines[0]})"
    shown = ", ".join(f"{count} x {name}" for name, count in Counter(lines).items())
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    return shown if visible is None else f"{shown} (CUDA_VISIBLE_DEVICES={visible})"
