"""Signs of life: every second each process writes its step to a small store; a waiting one reads who has fallen silent.

In: this rank's step. Out: sentences that name ranks and machines. The store (torch's TCPStore, on rank 0's machine) and
one daemon thread per process are all there is: no collective is used, so it works while the collectives hang.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from accelerate import Accelerator

from distgan.distributed.collectives import gather_objects, open_store
from distgan.utils.background import call_with_timeout
from distgan.utils.errors import DistganError, LostProcess
from distgan.utils.log import log

INTERVAL = 1.0  # seconds between two signs of life
SILENT_SECONDS = 3.0  # without a new sign: the process counts as silent
STORE_SECONDS = 5.0  # for an answer of the store
PEER_GONE = re.compile("closed by peer|Connection (reset|refused|closed)|[Tt]imed out|NCCL|Broken pipe")
MAX_NAMED = 8  # ranks in a sentence
COMMON = "an error that all ranks have"  # as an end_reason
COMMON_SECONDS = 60.0  # for rank 0 to meet it
STOPPED = "a signal"  # as an end_reason
NO_LOSS = {COMMON, STOPPED}


class Sign(NamedTuple):
    """A process's last sign of life."""

    number: int
    """Counts this process's signs."""
    step: int
    host: str
    pid: int
    activity: str
    """A verb phrase: trains, waits for images."""
    end_reason: str
    """The error that has ended the process, if it could write one; else empty."""


Signs = Mapping[int, Sign]  # by rank


class Heartbeat:
    """This rank's signs of life, and a reader of the others'. Does nothing where there is one process."""

    def __init__(self, accelerator: Accelerator, patience: float) -> None:
        """patience: seconds without a new step after which the silent ranks are named in a warning."""
        self.rank, self.world, self.patience = accelerator.process_index, accelerator.num_processes, patience
        self.step = 0
        self._number, self._activity, self._end_reason, self._end_of_0 = 0, "starts", "", ""
        self._over = threading.Event()
        self._members: list[int] = []
        """Ranks that can reach the store."""
        if self.world > 1:
            self._store, self._address = _open_store()
            connected = self._store is not None and answers(self._write_sign)
            self._members = [rank for rank, is_connected in enumerate(gather_objects(connected)) if is_connected]
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        if self.rank in self._members:
            self._thread.start()

    def __enter__(self) -> Heartbeat:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, _trace: Any) -> None:
        """Tells the others why this rank ends, if it is by an error of its own; waits for them if all have it.

        An error that was thought to be everywhere, but that rank 0 does not have, becomes one of this rank's own.
        """
        self._over.set()
        if self.rank in self._members and isinstance(error, DistganError) and error.everywhere:
            error.everywhere = self._all_have_it()
        own_error = error is not None and not getattr(error, "everywhere", False)
        if self.rank in self._members and own_error:
            lost_another = isinstance(error, LostProcess)
            self._end_reason = "another process was lost" if lost_another else str(error) or repr(error)
            answers(self._write_sign)
            if self.rank == 0 and not lost_another:
                time.sleep(3 * INTERVAL)  # the store ends with this process; the others have read it by then
        if self.rank in self._members:
            # a thread that comes out of the store while Python ends takes the process with it (std::terminate)
            self._thread.join(STORE_SECONDS)

    def set_activity(self, activity: str) -> None:
        """Sets what this rank does now, a verb phrase, for the sentence about one that hangs."""
        self._activity = activity

    def missing(self) -> str:
        """A sentence that names the ranks that are silent or have ended. Takes a few seconds."""
        if self.rank not in self._members:
            return "the process is not known: this rank could not reach the store on rank 0 from the start"
        for _ in range(1 if self.rank else 3):  # rank 0 has the store itself: only a busy machine keeps it from reading
            with contextlib.suppress(RuntimeError):
                return describe(*self._two_readings(), self.rank)
        return self._describe_lost_store()

    def lost_at_a_signal(self) -> str:
        """Names the ranks that had ended or were silent already when a signal asked all of them to stop; else empty.

        Takes a few seconds, in which every rank asks, and rank 0 stays there to be asked.
        """
        if self.rank not in self._members:
            return ""
        self._end_reason = STOPPED
        answers(self._write_sign)
        try:
            return describe(*self._two_readings(), self.rank, all_stop=True)
        except RuntimeError:
            return "" if self._end_of_0 in NO_LOSS else self._describe_lost_store()
        finally:
            if self._end_reason == STOPPED:
                self._end_reason = ""

    def _all_have_it(self) -> bool:
        """Waits until every rank has met its error too. Whether rank 0 has, or has ended."""
        self._end_reason = COMMON
        deadline = time.monotonic() + (COMMON_SECONDS if self.rank else SILENT_SECONDS)
        try:
            call_with_timeout(STORE_SECONDS, self._write_sign)
            while time.monotonic() < deadline:
                if all(sign.end_reason for sign in call_with_timeout(STORE_SECONDS, self._read_signs).values()):
                    return True
                time.sleep(0.1)
        except RuntimeError:  # the store has ended with rank 0
            return True
        return self.rank == 0

    def _run(self) -> None:
        step, since, reached = self.step, time.monotonic(), True
        while not self._over.wait(INTERVAL):
            reached = reached and answers(self._exchange)  # a broken connection stays broken
            if self.step != step:
                step, since = self.step, time.monotonic()
            elif time.monotonic() - since > self.patience:
                self._warn(time.monotonic() - since)
                since = float("inf")  # once per step

    def _warn(self, waited: float) -> None:
        """Names the silent ranks in a warning of the first rank that is not silent itself."""
        try:
            before, now = self._two_readings()
            reporter = min(rank for rank, sign in now.items() if sign.number > before[rank].number)
            missing = describe(before, now, self.rank) if reporter == self.rank else ""
        except RuntimeError:
            missing = self._describe_lost_store()
        if missing:
            log.warning("no new step for %.0f s, at step %d: %s", waited, self.step, missing)

    def _describe_lost_store(self) -> str:
        if self.rank == 0:
            return "another process was lost; which one is not known, since the store on this machine does not answer"
        if self._end_of_0:
            return f"rank 0 has ended: {self._end_of_0}"
        return f"rank 0 does not answer ({self._address}): it was killed or stopped, or the network to it is cut"

    def _two_readings(self) -> tuple[Signs, Signs]:
        """All signs, and all signs SILENT_SECONDS later. Raises RuntimeError if the store does not answer."""

        def read() -> tuple[Signs, Signs]:
            before = self._read_signs()
            for _ in range(round(SILENT_SECONDS / INTERVAL)):
                time.sleep(INTERVAL)
                self._write_sign()
            return before, self._read_signs()

        return call_with_timeout(SILENT_SECONDS + STORE_SECONDS, read)

    def _exchange(self) -> None:
        self._write_sign()
        if self.rank and not self._end_of_0:  # read in time: the store ends with rank 0
            self._end_of_0 = Sign(*json.loads(self._store.get("0"))).end_reason

    def _write_sign(self) -> None:
        self._number += 1
        sign = Sign(self._number, self.step, platform.node(), os.getpid(), self._activity, self._end_reason[:300])
        self._store.set(str(self.rank), json.dumps(sign))

    def _read_signs(self) -> Signs:
        texts = self._store.multi_get([str(rank) for rank in self._members])
        return {rank: Sign(*json.loads(text)) for rank, text in zip(self._members, texts, strict=True)}


def _open_store() -> tuple[Any, str]:
    """The store on rank 0, or None if this rank cannot reach it, and its address. Training continues without it."""
    store, address = open_store(STORE_SECONDS)
    if store is None:
        log.warning("the store on %s cannot be reached: lost processes will not be named", address)
    return store, address


def answers(call: Callable[[], object]) -> bool:
    """Whether a call to the store succeeds in time: a store that is cut off may hang for ever."""
    try:
        call_with_timeout(STORE_SECONDS, call)
    except Exception:  # torch's, or ours for the time
        return False
    return True


def describe(before: Signs, now: Signs, asking: int, all_stop: bool = False) -> str:
    """A sentence about the ranks that are silent, have ended, or hang; empty if there are none.

    before, now: two readings, SILENT_SECONDS apart. asking: the rank that asks; it is never named. all_stop: all ranks
    were asked to stop, so that none that has answered this is named.
    """
    ends = {rank: {sign.end_reason, before[rank].end_reason} for rank, sign in now.items()}
    stopped = {rank for rank, reasons in ends.items() if all_stop and reasons & NO_LOSS}
    others = {rank: sign for rank, sign in now.items() if rank != asking and rank not in stopped}
    furthest, own_activity = max(sign.step for sign in now.values()), now[asking].activity
    ended = [
        f"rank {rank} has ended: {sign.end_reason}"
        for rank, sign in others.items()
        if sign.end_reason not in ("", STOPPED)  # that one only asks, as this one does
    ]
    silent = [
        f"rank {rank} (machine {sign.host}, process {sign.pid}) does not answer, last heard of at step {sign.step}: "
        "it was killed or stopped, or the network to it is cut"
        for rank, sign in others.items()
        if sign.end_reason in ("", STOPPED) and sign.number == before[rank].number
    ]
    behind = [
        f"rank {rank} (machine {sign.host}, process {sign.pid}) answers but hangs: it {sign.activity} at step "
        f"{sign.step}, others are at {furthest}"
        for rank, sign in others.items()
        if sign.step < furthest or sign.activity not in (own_activity, "trains")
    ]
    problems = [*silent, *ended] or ([] if all_stop else behind)
    more = f"; and {len(problems) - MAX_NAMED} more" if len(problems) > MAX_NAMED else ""
    return "; ".join(problems[:MAX_NAMED]) + more


def lost_process(error: RuntimeError, missing: Callable[[], str]) -> LostProcess:
    """The error to raise for a collective that failed because another process is lost.

    missing: returns the sentence that names the process, or nothing.
    """
    reason = " ".join(str(error).split())[:200]
    return LostProcess(f"{missing() or 'all processes answer, but a connection between them failed'} ({reason})")
