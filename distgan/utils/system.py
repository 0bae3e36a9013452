"""The systems that the commands run on, and what of a system may be missing: a home directory, a list of cores."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from distgan.utils.errors import LaunchError


def check_system(platform: str = sys.platform) -> None:
    """Raises LaunchError on a system without the file locks, signals and limits that the commands need."""
    if platform in ("win32", "cygwin"):
        raise LaunchError(
            "distgan's commands need Linux or macOS, not Windows, which lacks their file locks and signals; use WSL 2, "
            "or distgan.load_generator in Python to draw from a trained generator"
        )


def usable_cores() -> int:
    """CPU cores that this process may use; on macOS, which does not tell, all of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cache_home(environment: Mapping[str, str] = os.environ) -> Path | None:
    """XDG_CACHE_HOME or ~/.cache; None for a user who has no home directory: no HOME and no entry in passwd."""
    path = os.path.expanduser(environment.get("XDG_CACHE_HOME") or "~/.cache")
    return None if path.startswith("~") else Path(path)
