"""How the commands here end, and how documents repeat them."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from distgan.config.command_line import ENVIRONMENT
from distgan.utils.errors import ConfigError, DistganError


def spoken(module: str, arguments: Sequence[str], names: Mapping[str | Path | None, str]) -> str:
    """The command as others may repeat it. names: what stands in the place of these paths, PATH or KEY=PATH."""
    told = {Path(path).resolve(): name for path, name in names.items() if path}

    def word(argument: str) -> str:
        key, equals, path = argument.rpartition("=")
        return key + equals + told.get(Path(path).resolve(), path)

    return shlex.join(["python", "-m", module, *map(word, arguments)])


def exit_code_of(work: Callable[[], int], interrupted: str = "the same command goes on") -> int:
    """The exit code: that of the work; 2 for a mistake to mend, told in a sentence; 130 for an interruption."""
    try:
        if os.environ.get(ENVIRONMENT):
            raise ConfigError(f"{ENVIRONMENT} would win over what a benchmark sets for its trainings; unset it")
        return work()
    except (DistganError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; {interrupted}", file=sys.stderr)
        return 130
