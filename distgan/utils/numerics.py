"""The arithmetic of sampling and of features: the same numbers whatever the caller has switched on.

torch keeps autocast per thread, but cuDNN's flags per process. Threads that compute at once share one change of the
flags: the first to enter saves and sets them, the last to leave restores them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor

_lock = threading.Lock()
_inside = 0  # threads within `_deterministic_cudnn`
_flags: AbstractContextManager[None]  # of the first of them


@contextmanager
def exact_numerics(device: torch.device, half: torch.dtype | None = None) -> Iterator[None]:
    """Computes in float32 despite the caller's autocast, without TF32 in cuDNN and with deterministic algorithms.

    half: computes under autocast to this type instead, such as torch.bfloat16. Matrix products use TF32 only if the
    caller has set `torch.set_float32_matmul_precision`.
    """
    with torch.autocast(device.type, dtype=half, enabled=half is not None), _deterministic_cudnn():
        yield


@contextmanager
def _deterministic_cudnn() -> Iterator[None]:
    global _inside, _flags
    with _lock:
        if _inside == 0:
            _flags = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
            _flags.__enter__()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _flags.__exit__(None, None, None)


def at_least_float32(x: Tensor) -> Tensor:
    """The same in float32, where it was in half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
