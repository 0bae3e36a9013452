"""Memory and threads of a training on the CPU: the C libraries' defaults cost up to a quarter of a step.

docs/performance.md has the figures. On a GPU, torch has its own allocator, and the threads do little.
"""

from __future__ import annotations

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
MAX_TRIM = 2**31 - 1  # bytes that may be free at the end of the heap: never given back
MAX_HEAP_BLOCK = 32 << 20  # bytes of a block from the heap; glibc allows no more


def keep_freed_memory() -> bool:
    """Keeps the memory that a step frees in this process, for the next step. Returns whether it can: only with glibc.

    By default glibc gives large blocks back to the system at once. When the next step asks for them again, the system
    clears every page.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(M_TRIM_THRESHOLD, MAX_TRIM) and libc.mallopt(M_MMAP_THRESHOLD, MAX_HEAP_BLOCK))


def spin_briefly() -> None:
    """Makes a waiting thread of OpenMP release its core soon. Must be called before torch is imported.

    By default a thread of GNU's OpenMP tries 300,000 times first. If another process is busy, it thereby keeps the
    thread that it waits for from its core, and a step takes several times as long.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def has_bf16() -> bool:
    """Whether this CPU has the instructions avx512_bf16; most others emulate bfloat16, which takes longer than fp32."""
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported())
