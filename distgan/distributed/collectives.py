"""All communication between processes. Without a process group there is one process, and nothing is sent.

Every function but `rank`, `world_size`, `in_group`, `alone` and `own_row` is a collective: all processes call it.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from distgan.utils.errors import DistganError, LaunchError

DOWNLOAD_MINUTES = 360.0  # a download may take long; the other processes wait
T = TypeVar("T")
_meetings: list[_Meeting] = []
_joins = itertools.count()
_alone: ContextVar[bool] = ContextVar("alone", default=False)


def in_group() -> bool:
    """Whether this process has been joined with others, or with itself."""
    return dist.is_available() and dist.is_initialized()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """A context in which this process counts as the only one: for work that the others do not take part in."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if in_group() and not _alone.get() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if in_group() and not _alone.get() else 0


def broadcast(value: T, group: Any = None) -> T:
    """Rank 0's value, on every rank. group: to send it through; None: that of all processes."""
    if world_size() == 1:
        return value
    values: list[Any] = [value]
    dist.broadcast_object_list(values, group=group)
    return values[0]  # type: ignore[no-any-return]


def broadcast_tensors(tensors: Iterable[Tensor]) -> None:
    """Overwrites tensors, of the same shapes on every rank, with rank 0's."""
    if world_size() == 1:
        return
    for tensor in tensors:
        sent = tensor.detach().contiguous()
        dist.broadcast(sent, 0)
        tensor.detach().copy_(sent)


def gather_objects(value: T) -> list[T]:
    """Every rank's value, in order, on every rank."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def on_main(call: Callable[[], T], group: Any = None) -> T:
    """Makes the call on rank 0 and returns its result on every rank.

    group: in which the others wait for it; None: that of all processes. Its DistganError is raised on every rank; so is
    an OSError, as LaunchError.
    """
    result: Any = None
    failure: DistganError | None = None
    if rank() == 0:
        try:
            result = call()
        except DistganError as error:
            error.everywhere = True
            failure = error
        except OSError as error:
            failure = LaunchError(str(error))
    result, failure = broadcast((result, failure), group)
    if failure is not None:
        raise failure
    return result  # type: ignore[no-any-return]


def mean(values: Tensor) -> Tensor:
    """Mean over the ranks, [n] on the process group's device; `values` is overwritten."""
    if world_size() > 1:
        dist.all_reduce(values)
        values /= world_size()
    return values


def largest(values: Tensor) -> Tensor:
    """Maximum over the ranks, [n] on the process group's device; `values` is overwritten."""
    if world_size() > 1:
        dist.all_reduce(values, dist.ReduceOp.MAX)
    return values


def rows_of_all(values: Tensor) -> Tensor:
    """Every rank's values, [ranks, *shape], on the process group's device, which `values` is on too."""
    if world_size() == 1:
        return values[None]
    rows = [torch.empty_like(values) for _ in range(world_size())]
    dist.all_gather(rows, values)
    return torch.stack(rows)


def own_row(rows: Tensor) -> Tensor:
    """This rank's values of `rows_of_all`; their mean, if another number of ranks made them. Not a collective."""
    return rows[rank()] if len(rows) == world_size() else rows.mean(0)


def barrier(group: Any = None) -> None:
    """Returns when every rank has called it."""
    if world_size() > 1:
        dist.barrier(group=group)


def gloo_group(minutes: float) -> Any:
    """A process group for small messages on the host, None where there is one process. Raises LaunchError.

    minutes: how long a collective of it waits for another process.
    """
    if world_size() == 1:
        return None
    try:
        return dist.new_group(backend="gloo", timeout=datetime.timedelta(minutes=minutes))
    except RuntimeError as error:
        raise LaunchError(
            f"the processes cannot communicate over the network ({str(error).splitlines()[0]}); set "
            "GLOO_SOCKET_IFNAME to the name of the network interface between the machines"
        ) from None


def open_store(seconds: float) -> tuple[Any, str]:
    """A connection to a store on rank 0, None if it cannot be reached, and the address of the store.

    seconds: how long a call to it may take. Its port is not the launcher's, so a firewall may block it.
    """
    timeout = datetime.timedelta(seconds=seconds)
    host = os.environ.get("MASTER_ADDR", "localhost")
    address: tuple[int, str] = (0, "")
    store = None
    if rank() == 0:
        with contextlib.suppress(RuntimeError):
            store = TCPStore("localhost", 0, is_master=True, timeout=timeout, wait_for_workers=False)
            address = (store.port, platform.node())
    port, name = broadcast(address)
    if port and rank():
        with contextlib.suppress(RuntimeError):
            store = TCPStore(host, port, is_master=False, timeout=timeout)
    return store, f"machine {name}, {host}:{port}"


class _Meeting(NamedTuple):
    """How the first group of this process met."""

    store: Any
    rank: int
    world: int


def remember_group() -> None:
    """Keeps what is needed to join the processes of this group once more. Not a collective."""
    if in_group() and not _meetings:
        store = dist.distributed_c10d._get_default_store()
        _meetings.append(_Meeting(store, dist.get_rank(), dist.get_world_size()))


def join_again(minutes: float, backend: str) -> bool:
    """Joins the processes of an earlier group that has been left. Returns whether there was one.

    torch's own way through the launcher's store would find the keys of the earlier group there, and hang. minutes: how
    long a collective waits for another process. backend: of the new group, whatever the earlier one had.
    """
    if not _meetings:
        return False
    store, rank, world = _meetings[0]
    dist.init_process_group(
        backend,
        store=PrefixStore(f"again-{next(_joins)}", store),
        rank=rank,
        world_size=world,
        timeout=datetime.timedelta(minutes=minutes),
    )
    return True


@contextlib.contextmanager
def joined(backend: str) -> Iterator[None]:
    """Joins all processes that a launcher has started, for a command without Accelerate. backend: nccl or gloo."""
    if not join_again(10.0, backend):
        dist.init_process_group(backend)
        remember_group()
    try:
        yield
    finally:
        dist.destroy_process_group()


class Ranks:
    """Divides rows among all processes, and collects them. `gather` is a collective."""

    def __init__(self, device: torch.device) -> None:
        """device: of the process group's tensors."""
        self.device, self.rank, self.world = device, rank(), world_size()

    def share(self, total: int, batch: int) -> range:
        """This rank's rows of `total`: contiguous complete batches, so that the batches are the same for any number of
        ranks. Empty if there are fewer batches than ranks."""
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

    def _share(self, total: int, batch: int, rank: int) -> range:
        batches = -(-total // batch)
        start, stop = (min(batches * border // self.world * batch, total) for border in (rank, rank + 1))
        return range(start, stop)
