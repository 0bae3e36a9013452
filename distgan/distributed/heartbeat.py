"""Who is there: processes tell a small store, once a second, how far they are; a waiting one asks who fell silent.

In: this rank's step. Out: sentences that name ranks and machines. The store (torch's TCPStore, on rank 0's machine) and
one daemon thread per process are all there is: no collective is used, so it works while the collectives hang.
"""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from accelerate import Accelerator

from distgan.distributed.collectives import gather_objects, open_store
from distgan.utils.background import call_with_timeout
from distgan.utils.errors import LostProcess
from distgan.utils.log import log

BEAT = 1.0  # seconds between two signs of life
SILENT = 3.0  # seconds without one: fallen silent
STORE_SECONDS = 5.0  # for an answer of the store
PEER_GONE = re.compile("closed by peer|Connection (reset|refused|closed)|[Tt]imed out|NCCL|Broken pipe")
NAMED = 8  # ranks in a sentence


class Sign(NamedTuple):
    """A process's last sign of life."""

    beat: int
    step: int
    host: str
    pid: int
    doing: str
    ended: str
    """Why it ended, if it could say so."""


class Heartbeat:
    """This rank's signs of life, and a look at the others'. Does nothing where there is one process."""

    def __init__(self, accelerator: Accelerator, patience: float) -> None:
        """patience: seconds without a new step after which the silent ranks are named on stderr."""
        self.rank, self.world, self.patience = accelerator.process_index, accelerator.num_processes, patience
        self.step = 0
        self._beat, self._doing, self._ended, self._end_of_0 = 0, "starts", "", ""
        self._over = threading.Event()
        self._members: list[int] = []
        if self.world > 1:
            self._store, self._where = _open_store()
            there = self._store is not None and answers(self._tell)
            self._members = [rank for rank, is_there in enumerate(gather_objects(there)) if is_there]
        self._thread = threading.Thread(target=self._live, name="presence", daemon=True)
        if self.rank in self._members:
            self._thread.start()

    def __enter__(self) -> Heartbeat:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, _trace: Any) -> None:
        """The others learn why this rank ends, if it is by an error of its own."""
        self._over.set()
        alone = error is not None and not getattr(error, "everywhere", False)
        if self.rank in self._members and alone:
            for signum in (signal.SIGTERM, signal.SIGINT):  # this rank ends anyway, and its own error is to be heard
                signal.signal(signum, signal.SIG_IGN)
            self._ended = "another process was lost" if isinstance(error, LostProcess) else str(error) or repr(error)
            answers(self._tell)
            if self.rank == 0 and not isinstance(error, LostProcess):
                time.sleep(3 * BEAT)  # the store ends with this process; the others have read it by then
        if self.rank in self._members:
            # a thread that comes out of the store while Python ends takes the process with it (std::terminate)
            self._thread.join(STORE_SECONDS)

    def set_activity(self, what: str) -> None:
        """What this rank does now, for the sentence about one that hangs."""
        self._doing = what

    def missing(self) -> str:
        """Which ranks have fallen silent or ended, in a sentence. Takes a few seconds."""
        if self.rank not in self._members:
            return "nobody knows which process: the store on rank 0 could not be reached from the start"
        try:
            return describe(*call_with_timeout(SILENT + STORE_SECONDS, self._two_looks), self.rank)
        except RuntimeError:
            return self._no_store()

    def _live(self) -> None:
        step, since, reached = self.step, time.monotonic(), True
        while not self._over.wait(BEAT):
            reached = reached and answers(self._exchange)  # a broken connection stays broken
            if self.step != step:
                step, since = self.step, time.monotonic()
            elif time.monotonic() - since > self.patience:
                self._complain(time.monotonic() - since)
                since = float("inf")  # once per step

    def _complain(self, waited: float) -> None:
        try:
            before, now = call_with_timeout(SILENT + STORE_SECONDS, self._two_looks)
            speaks = min(rank for rank, sign in now.items() if sign.beat > before[rank].beat) == self.rank
            missing = describe(before, now, self.rank) if speaks else ""
        except RuntimeError:
            missing = self._no_store()
        if missing:
            log.warning("no new step for %.0f s, at step %d: %s", waited, self.step, missing)

    def _no_store(self) -> str:
        if self._end_of_0:
            return f"rank 0 has ended: {self._end_of_0}"
        return f"rank 0 does not answer ({self._where}): it was killed or stopped, or the network to it is cut"

    def _two_looks(self) -> tuple[dict[int, Sign], dict[int, Sign]]:
        """All signs, and all signs SILENT seconds later."""
        before = self._signs()
        for _ in range(round(SILENT / BEAT)):
            time.sleep(BEAT)
            self._tell()
        return before, self._signs()

    def _exchange(self) -> None:
        self._tell()
        if self.rank and not self._end_of_0:  # asked for in time: rank 0 takes the store with it
            self._end_of_0 = Sign(*json.loads(self._store.get("0"))).ended

    def _tell(self) -> None:
        self._beat += 1
        sign = Sign(self._beat, self.step, platform.node(), os.getpid(), self._doing, self._ended[:300])
        self._store.set(str(self.rank), json.dumps(sign))

    def _signs(self) -> dict[int, Sign]:
        texts = self._store.multi_get([str(rank) for rank in self._members])
        return {rank: Sign(*json.loads(text)) for rank, text in zip(self._members, texts, strict=True)}


def _open_store() -> tuple[Any, str]:
    """The store on rank 0 and where it is. Without a way to it this rank cannot name the others; training goes on."""
    store, where = open_store(STORE_SECONDS)
    if store is None:
        log.warning("no way to the store on %s: lost processes will not be named", where)
    return store, where


def answers(call: Callable[[], object]) -> bool:
    """Whether a call to the store succeeds in time: a store that is cut off may hang for ever."""
    try:
        call_with_timeout(STORE_SECONDS, call)
    except RuntimeError:
        return False
    return True


def describe(before: Mapping[int, Sign], now: Mapping[int, Sign], asking: int) -> str:
    """What two looks at the signs of life, SILENT seconds apart, say about the others; empty if all are well."""
    others = {rank: sign for rank, sign in now.items() if rank != asking}
    furthest, own = max(sign.step for sign in now.values()), now[asking].doing
    ended = [f"rank {rank} has ended: {sign.ended}" for rank, sign in others.items() if sign.ended]
    silent = [
        f"rank {rank} (machine {sign.host}, process {sign.pid}) does not answer, last heard of at step {sign.step}: "
        "it was killed or stopped, or the network to it is cut"
        for rank, sign in others.items()
        if not sign.ended and sign.beat == before[rank].beat
    ]
    behind = [
        f"rank {rank} (machine {sign.host}, process {sign.pid}) answers but hangs: it {sign.doing} at step "
        f"{sign.step}, others are at {furthest}"
        for rank, sign in others.items()
        if sign.step < furthest or sign.doing not in (own, "trains")
    ]
    told = [*silent, *ended] or behind
    more = f"; and {len(told) - NAMED} more" if len(told) > NAMED else ""
    return "; ".join(told[:NAMED]) + more


def lost(error: RuntimeError, missing: Callable[[], str]) -> LostProcess:
    """The error for a collective that failed because another process is not there."""
    reason = " ".join(str(error).split())[:200]
    return LostProcess(f"{missing() or 'all processes answer, but a connection between them failed'} ({reason})")
