"""What figures depend on."""

from __future__ import annotations

import platform
import re
from pathlib import Path


def processor() -> str:
    """The model's name, where the system tells it."""
    told = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", told.read_text(), re.MULTILINE) if told.exists() else None
    return found.group(1) if found else platform.processor() or platform.machine()
