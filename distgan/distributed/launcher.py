"""Whether the launcher that started this process is still there. Imported before anything slow; standard library only.

SIGTERM to a single-process launcher, or SIGKILL to any, leaves its trainers behind. One that trains notices by itself
(`distributed.StopSignal`), saves and stops; one that is still starting has nothing to save, but may hang in a call that
waits for the launcher: `watch` ends it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping

PARENT = os.getppid()
VARIABLES = ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID")  # what a launcher leaves in the environment
trains = threading.Event()
"""Set when training can answer for itself."""


def launcher_died(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a launcher started this process and has ended."""
    return any(name in environment for name in VARIABLES) and os.getppid() != PARENT


def watch(seconds: float = 1.0) -> None:
    """From now until training begins, ends this process (exit code 143) soon after its launcher has gone."""

    def look() -> None:
        while not trains.wait(seconds):
            if launcher_died():
                print("the launcher has ended before training began; nothing was lost", file=sys.stderr, flush=True)
                os._exit(128 + signal.SIGTERM)

    if any(name in os.environ for name in VARIABLES):
        threading.Thread(target=look, name="launcher", daemon=True).start()
