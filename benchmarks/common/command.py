"""How the commands here end."""

from __future__ import annotations

import sys
from collections.abc import Callable

from distgan.utils.errors import DistganError


def exit_code_of(work: Callable[[], int], interrupted: str = "the same command goes on") -> int:
    """The exit code: that of the work; 2 for a mistake to mend, told in a sentence; 130 for an interruption."""
    try:
        return work()
    except (DistganError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; {interrupted}", file=sys.stderr)
        return 130
