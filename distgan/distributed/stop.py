"""A stop that all ranks agree on: signals, the time limit, rules of the configuration."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import torch
import torch.distributed as dist

from distgan.distributed.collectives import gloo_group
from distgan.distributed.launcher import launcher_died
from distgan.distributed.signals import Signals
from distgan.utils.errors import CallbackError, Halted


class StopReason(IntEnum):
    """Why training stops. If ranks have different reasons, the largest number counts.

    The numbers of the urgent ones are exit codes.
    """

    NONE = 0
    """No stop, or the regular end: the budget or the patience is used up."""
    TIME_LIMIT = 1
    """train.seconds are used up. Every other reason has priority, and training ends completely."""
    REQUESTED = 2
    """A callback asked for it; training ends completely."""
    SIGHUP = 128 + 1
    SIGINT = 128 + 2
    SIGQUIT = 128 + 3
    SIGTERM = 128 + 15
    LAUNCHER_ENDED = 200
    """Nobody waits for this process any more; its exit code is SIGTERM's."""
    RULE = 201
    """A rule of the configuration, such as checkpoint.max_failures."""
    FAILED = 202
    """A callback raised an exception on one rank."""

    @property
    def urgent(self) -> bool:
        """Whether there may be little time left: training saves everything and does nothing else."""
        return self > StopReason.REQUESTED

    @property
    def early(self) -> bool:
        """Whether training ends completely, but before its budget is used up."""
        return self in (StopReason.TIME_LIMIT, StopReason.REQUESTED)

    @property
    def exit_code(self) -> int:
        """Exit code of a training that stops for this reason."""
        ends = {
            StopReason.RULE: Halted.exit_code,
            StopReason.FAILED: CallbackError.exit_code,
            StopReason.LAUNCHER_ENDED: int(StopReason.SIGTERM),
        }
        return ends.get(self, int(self) if self.urgent else 0)

    def __str__(self) -> str:
        """The end of a sentence: stopped by ..."""
        return "the end of the launcher" if self == StopReason.LAUNCHER_ENDED else self.name


class StopSignal:
    """Turns signals and requests into a decision that all ranks take at the same step.

    The result of each step's all-reduce (one int, on the host, over gloo) is read one step later, so no rank waits for
    it, and no device is involved. Further signals change nothing.
    """

    def __init__(self, minutes: float, signals: Signals | None = None) -> None:
        """minutes: how long a rank waits for the others; signals: of this process."""
        self._received = StopReason.NONE
        self._signals = signals or Signals()
        self._group = gloo_group(minutes)
        self._pending: tuple[Any, torch.Tensor] | None = None

    @property
    def received(self) -> StopReason:
        """This rank's own reason to stop."""
        if self._signals.received is not None:
            self.request(StopReason[self._signals.received.name])
        elif launcher_died():
            self.request(StopReason.LAUNCHER_ENDED)
        return self._received

    def agreed(self) -> StopReason:
        """Returns the reason to stop, the same on every rank. All ranks call it once per step."""
        if self._group is None:
            return self.received
        decision = self._collect()
        flag = torch.tensor([int(self.received)])
        self._pending = dist.all_reduce(flag, dist.ReduceOp.MAX, group=self._group, async_op=True), flag
        return decision

    def request(self, reason: StopReason) -> None:
        """Asks all ranks to stop. An urgent reason is never replaced."""
        if not self._received.urgent:
            self._received = reason

    @property
    def hurried(self) -> bool:
        """Whether this rank has received an urgent reason."""
        return self.received.urgent

    def on_any_rank(self, flag: bool) -> bool:
        """Whether it is true on any rank. All ranks call it, between the same steps."""
        if self._group is None:
            return flag
        flags = torch.tensor([int(flag)])
        dist.all_reduce(flags, dist.ReduceOp.MAX, group=self._group)
        return bool(flags.item())

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
