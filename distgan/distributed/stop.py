"""A stop that all ranks agree on: signals, the time limit, rules of the configuration."""

from __future__ import annotations

import signal
from enum import IntEnum
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

from distgan.distributed import launcher
from distgan.distributed.collectives import gloo_group


class StopReason(IntEnum):
    """Why training stops. If ranks have different reasons, the largest number counts."""

    NONE = 0
    """No stop, or the regular end: the budget or the patience is used up."""
    TIME_LIMIT = 1
    """train.seconds are used up. Every other reason has priority, and training ends completely."""
    SIGINT = signal.SIGINT
    SIGTERM = signal.SIGTERM
    RULE = 100
    """A rule of the configuration, such as checkpoint.max_failures."""

    @property
    def urgent(self) -> bool:
        """Whether there may be little time left: training saves everything and does nothing else."""
        return self > StopReason.TIME_LIMIT


class StopSignal:
    """Turns SIGINT, SIGTERM and requests into a decision that all ranks take at the same step.

    The result of each step's all-reduce (one int, on the host, over gloo) is read one step later, so no rank waits for
    it, and no device is involved. Further signals change nothing. A launcher that has died counts as SIGTERM.
    """

    def __init__(self, minutes: float) -> None:
        """minutes: how long a rank waits for the others."""
        self.received = StopReason.NONE
        self._group = gloo_group(minutes)
        self._pending: tuple[Any, torch.Tensor] | None = None
        self._old_handlers: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        launcher.trains.set()
        for signum in (signal.SIGINT, signal.SIGTERM):
            self._old_handlers[signum] = signal.signal(signum, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._old_handlers.items():
            signal.signal(signum, handler)

    def agreed(self) -> StopReason:
        """Returns the reason to stop, the same on every rank. All ranks call it once per step."""
        if launcher.launcher_died():
            self.request(StopReason.SIGTERM)
        if self._group is None:
            return self.received
        decision = self._collect()
        flag = torch.tensor([int(self.received)])
        self._pending = dist.all_reduce(flag, dist.ReduceOp.MAX, group=self._group, async_op=True), flag
        return decision

    def request(self, reason: StopReason) -> None:
        """Asks all ranks to stop. An urgent reason is never replaced."""
        if not self.received.urgent:
            self.received = reason

    @property
    def hurried(self) -> bool:
        """Whether this rank has received an urgent reason."""
        return self.received.urgent

    def wait_for_all(self) -> None:
        """Returns when every rank has called it, so that none ends while another still writes."""
        self._collect()
        if self._group is not None:
            dist.barrier(group=self._group)

    def _collect(self) -> StopReason:
        if self._pending is None:
            return StopReason.NONE
        work, flag = self._pending
        work.wait()
        self._pending = None
        return StopReason(int(flag.item()))

    def _receive(self, signum: int, _frame: FrameType | None) -> None:
        self.request(StopReason(signum))
