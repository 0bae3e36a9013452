"""Work shared out among processes: who does which batches, and how their results come together on the main process.

Without a process group there is one process, and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from distgan.utils.errors import DistganError

T = TypeVar("T")


class Ranks:
    """All processes, as one of them sees them. `gather` and `on_main` are collectives."""

    def __init__(self, device: torch.device) -> None:
        """device: where the process group's tensors are."""
        joined = dist.is_available() and dist.is_initialized()
        self.device = device
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if joined else (0, 1)

    def share(self, total: int, batch: int) -> range:
        """This rank's rows of `total`: contiguous, between borders of batches, so that the batches are the same for any
        number of ranks. Empty where there are fewer batches than ranks."""
        return self._share(total, batch, self.rank)

    def gather(self, rows: Tensor, total: int, batch: int) -> Tensor:
        """All ranks' shares of `total` rows in order, [total, ...], on the main process; [0, ...] elsewhere.

        rows: this rank's share; both are on the host.
        """
        if self.world == 1:
            return rows
        counts = [len(self._share(total, batch, rank)) for rank in range(self.world)]
        padded = torch.zeros((max(counts), *rows.shape[1:]), dtype=rows.dtype, device=self.device)
        padded[: len(rows)] = rows
        if self.rank:
            dist.gather(padded)
            return rows[:0]
        parts = [torch.empty_like(padded) for _ in counts]
        dist.gather(padded, parts)
        return torch.cat([part[:count].cpu() for part, count in zip(parts, counts, strict=True)])

    def on_main(self, call: Callable[[], T]) -> T:
        """What `call` returns on the main process, on every rank; its DistganError is raised on every rank."""
        if self.world == 1:
            return call()
        outcome: list[Any] = [None, None]
        if self.rank == 0:
            try:
                outcome[0] = call()
            except DistganError as error:
                error.everywhere = True
                outcome[1] = error
        dist.broadcast_object_list(outcome, device=self.device)
        result, failure = outcome
        if failure is not None:
            raise failure
        return result

    def _share(self, total: int, batch: int, rank: int) -> range:
        batches = -(-total // batch)
        start, stop = (min(batches * border // self.world * batch, total) for border in (rank, rank + 1))
        return range(start, stop)
