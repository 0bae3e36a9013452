"""A CPU training's memory and threads: what the C libraries do by default costs it up to a quarter of a step.

docs/performance.md has the figures. On a GPU, torch has an allocator of its own, and the threads do little.
"""

from __future__ import annotations

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
NEVER = 2**31 - 1  # bytes that the heap's end may have free
LARGEST = 32 << 20  # bytes of a block that is taken from the heap; glibc allows no more


def keep_freed_memory() -> bool:
    """Memory that a step frees stays with this process, so that the next step finds it.

    By default glibc gives large blocks back to the system at once, which clears every page of them when the next step
    takes them again. Returns whether that can be had: with glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(M_TRIM_THRESHOLD, NEVER) and libc.mallopt(M_MMAP_THRESHOLD, LARGEST))


def spin_briefly() -> None:
    """A thread that waits for the others of its step soon gives its core away. Before torch is imported.

    By default GNU's OpenMP tries 300,000 times first: whoever the others wait for is kept from its core, and a step
    takes several times as long when another process is busy.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
