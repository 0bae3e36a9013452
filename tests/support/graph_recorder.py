"""What a CUDA graph is, on the CPU: every operation of a piece of work is recorded with the very tensors that it took
and gave, and repeated on these. What is no operation on tensors (a number, a condition, a random seed) is left behind,
and what would make the host wait for a GPU, or copy from the host, is refused, as a GPU does while it records.
"""

from __future__ import annotations

import math

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

REFUSED = {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2", "lift_fresh"}


class Operations(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = []
        self.outside = set()  # memory that was there before
        self.inside = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        assert name not in REFUSED, f"{name} cannot be recorded on a GPU"
        taken = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        self.outside |= {memory(tensor) for tensor in taken} - set(self.inside)
        given = function(*args, **(kwargs or {}))
        self.calls.append((function, args, kwargs or {}, given))
        for tensor in tree_leaves(given):
            if isinstance(tensor, torch.Tensor) and memory(tensor) not in self.outside:
                self.inside.setdefault(memory(tensor), tensor)
        return given

    def forget(self):
        """What was made inside has no value before it is made again."""
        with torch.no_grad():
            for *_, given in self.calls:
                for tensor in tree_leaves(given):
                    if isinstance(tensor, torch.Tensor) and memory(tensor) in self.inside:
                        tensor.fill_(math.nan if tensor.is_floating_point() else 0)

    @torch.no_grad()
    def repeat(self):
        for function, args, kwargs, given in self.calls:
            again = function(*args, **kwargs)
            for old, new in zip(tree_leaves(given), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and memory(old) != memory(new):
                    old.copy_(new)


def memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class CpuRecorder:
    """networks: whose buffers a recording must not move; only its replay does."""

    def __init__(self, *networks):
        self.buffers = [buffer for network in networks for buffer in network.buffers()]
        self.recorded = self.replayed = 0

    def warm(self, work):
        return work()

    def record(self, work):
        before = [buffer.clone() for buffer in self.buffers]
        with Operations() as operations:
            result = work()
        operations.forget()
        for buffer, value in zip(self.buffers, before, strict=True):
            buffer.copy_(value)
        self.recorded += 1

        def replay():
            self.replayed += 1
            operations.repeat()

        return result, replay


class Unable(CpuRecorder):
    """Fails in the midst of its work."""

    def record(self, work):
        work()
        raise RuntimeError("operation not permitted when stream is capturing")
