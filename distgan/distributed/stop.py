"""A stop that all ranks agree on: signals, the end of the time, rules of the configuration."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

from distgan.distributed import launcher
from distgan.distributed.collectives import gloo_group

RULE = 100  # a reason to stop that is no signal: a rule of the configuration
TIME = 1  # another one: train.seconds are used up; it gives way to every other reason, and training ends in full


class StopSignal:
    """SIGINT, SIGTERM and the end of the time, turned into a decision that all ranks take at the same step.

    Each step's all-reduce (one int, on the host, over gloo) is read one step later, so nobody waits for it, and no
    device is involved. Further signals change nothing. A launcher that has died counts as SIGTERM.
    """

    def __init__(self, minutes: float) -> None:
        """minutes: how long a rank waits for the others."""
        self.received = 0
        self._group = gloo_group(minutes)
        self._pending: tuple[Any, torch.Tensor] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        launcher.trains.set()
        for signum in (signal.SIGINT, signal.SIGTERM):
            self._before[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def agreed(self) -> int:
        """The reason to stop, the same on every rank, or 0. Called once per step."""
        if launcher.launcher_died():
            self.request(signal.SIGTERM)
        if self._group is None:
            return self.received
        decision = self._collect()
        flag = torch.tensor([self.received])
        self._pending = dist.all_reduce(flag, dist.ReduceOp.MAX, group=self._group, async_op=True), flag
        return decision

    def request(self, reason: int) -> None:
        """Asks all ranks to stop; reason: a signal's number, RULE or TIME."""
        if self.received in (0, TIME):
            self.received = reason

    @property
    def hurried(self) -> bool:
        """Whether this rank has heard of a reason to stop with little time left."""
        return self.received not in (0, TIME)

    def wait_for_all(self) -> None:
        """Returns when every rank has come here: nobody leaves while another still writes."""
        self._collect()
        if self._group is not None:
            dist.barrier(group=self._group)

    def _collect(self) -> int:
        if self._pending is None:
            return 0
        work, flag = self._pending
        work.wait()
        self._pending = None
        return int(flag.item())

    def _note(self, signum: int, _frame: FrameType | None) -> None:
        self.request(signum)
