"""Calls that may raise or hang, made in daemon threads. Standard library only.

`Worker` makes calls one after another while nobody waits for them; `call_with_timeout` waits for one call; `leave` ends
a process in which some may still hang.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import NoReturn, TypeVar

T = TypeVar("T")
Call = Callable[[], None]
QUEUE_SIZE = 512  # waiting calls; further ones are dropped and counted
CALL_SECONDS = 60.0  # for one call of a worker
START_SECONDS = 15.0  # for the first call of one
FINISH_SECONDS = 30.0  # for everything at the end
SIGNAL_SECONDS = 10.0  # for everything at the end after a signal, when a launcher is about to kill


class CallTimeout(RuntimeError):
    """A call has not returned in time."""


class Worker:
    """Makes calls one after another in a daemon thread. A call that raises or takes too long switches it off."""

    def __init__(self, name: str, warn: Callable[[str], None]) -> None:
        """name: of the library that is called, for the warnings; warn: is given a sentence, in either thread."""
        self.failure: str | None = None
        self.dropped = 0
        self._name, self._warn = name, warn
        self._queue: queue.Queue[tuple[str, Call, bool]] = queue.Queue(QUEUE_SIZE)
        self._running: tuple[str, float] | None = None  # label and start of the call in progress
        threading.Thread(target=self._work, name=f"distgan-{name}", daemon=True).start()

    def put(self, label: str, call: Call) -> None:
        """Hands over a call without waiting; drops it when the queue is full, or after a failure."""
        running = self._running
        if running and time.monotonic() - running[1] > CALL_SECONDS:
            self.fail(f"{running[0]} has not returned for {CALL_SECONDS:.0f} s")
        if self.failure is not None:
            return
        try:
            self._queue.put_nowait((label, call, False))
        except queue.Full:
            self.dropped += 1
            if self.dropped == 1:
                self._warn(f"{self._name} is too slow (in {running[0] if running else label}): rows are being dropped")

    def last(self, label: str, call: Call, seconds: float) -> bool:
        """Makes one more call after all others, also after a failure. Returns whether it returned within `seconds`."""
        deadline = time.monotonic() + seconds
        done = threading.Event()

        def call_and_notify() -> None:
            try:
                call()
            finally:
                done.set()

        try:
            self._queue.put((label, call_and_notify, True), timeout=seconds)
        except queue.Full:
            return False
        return done.wait(max(0.0, deadline - time.monotonic()))

    def fail(self, reason: str) -> None:
        """Switches the worker off, with one warning."""
        if self.failure is None:
            self.failure = reason
            self._warn(f"{self._name} is off for the rest of this run: {reason}")

    def _work(self) -> None:
        while True:
            label, call, always = self._queue.get()
            if self.failure is not None and not always:
                continue
            self._running = (label, time.monotonic())
            try:
                call()
            except BaseException as error:  # also SystemExit, which wandb raises at times
                self.fail(f"{label} raised {type(error).__name__}: {short(error)}")
            finally:
                self._running = None


def call_with_timeout(seconds: float, call: Callable[[], T]) -> T:
    """Makes a call in a daemon thread and returns its result.

    Raises what the call raises, or CallTimeout if it has not returned after `seconds`; its thread then runs on.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise CallTimeout(f"no answer in {seconds:.0f} s")
    return results[0]


def short(error: BaseException) -> str:
    """The first line of an error's message, or its type."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]


process_ends = threading.Event()
"""Set where a command's end is the process's: nothing has to be put back for what comes after it."""


def leave(main: Callable[[], int]) -> NoReturn:
    """Calls a command and ends the process with its exit code; 1, and the traceback, for a bug.

    Ends it without Python's own end if the exit code is an error's, or if threads are left.

    Python's end would wait for W&B's process, which may wait for its server; and torch's threads may end it by SIGABRT.
    """
    process_ends.set()
    try:
        code = main()
    except KeyboardInterrupt:  # before the command was ready for it
        code = 130
    except Exception:
        traceback.print_exc()
        code = 1
    if code or threading.active_count() > 1:
        for stream in filter(None, (sys.stdout, sys.stderr)):  # None: closed when Python started
            with contextlib.suppress(OSError, ValueError):  # closed, or a pipe that nobody reads
                stream.flush()
        os._exit(code)
    sys.exit(code)
