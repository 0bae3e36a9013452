"""Signals that ask a training to stop. Imported before torch.

A handler that raised would do so between any two lines of Python, also inside a library that catches the error. So the
handlers only record. What is recorded is acted on where that is safe: before training begins by a thread, which ends
the process; in the loop by all ranks together (`stop.StopSignal`), or by that thread if the loop hangs for a lost rank;
after that by nobody, since the process ends anyway.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from distgan.distributed import launcher
from distgan.utils.background import process_ends
from distgan.utils.errors import LostProcess
from distgan.utils.log import log

STOPPING = [getattr(signal, name) for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM") if hasattr(signal, name)]
POLL = 0.1  # seconds between two looks of the thread
HANG_SECONDS = 5.0  # between two looks for lost processes after a signal; a launcher kills after 30


class Signals:
    """What this process has received, inside `with`. Outside of the main thread no signal is received.

    The process is left as it was found.
    """

    def __init__(self, from_start: bool = True) -> None:
        """from_start: false for one process that is more than a training: before `begin` its own handlers work."""
        self._from_start = from_start
        self.received: signal.Signals | None = None
        """The first signal. Further ones change nothing."""
        self.lost_ranks: Callable[[], str] = lambda: ""
        """Names ranks that have ended or are silent; empty if there are none. It may take seconds."""
        self._begun, self._ended = threading.Event(), threading.Event()
        self._old_handlers: dict[int, Any] = {}
        self._numbers, self._old_wakeup, self._reading = -1, -1, threading.Lock()

    def __enter__(self) -> Signals:
        if not self._from_start:
            return self
        for signum in STOPPING:
            # Python's own KeyboardInterrupt is better than a thread's end for one process, which may be a notebook
            if signum != signal.SIGINT or os.environ.get("WORLD_SIZE", "1") not in ("", "1"):
                self._record(signum)
        if threading.current_thread() is threading.main_thread():
            self._numbers, write = os.pipe()
            os.set_blocking(write, False)
            self._old_wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, name="signals", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        if process_ends.is_set():  # a late SIGTERM must not change the exit code
            return
        for signum, handler in self._old_handlers.items():
            if handler is not None:  # a C library's
                signal.signal(signum, handler)

    def begin(self) -> None:
        """From now on the caller looks at `received`: it trains, or it reports an error and ends."""
        self._begun.set()
        for signum in [signal.SIGINT] if self._from_start else STOPPING:
            if signum not in self._old_handlers:
                self._record(signum)

    def end(self) -> None:
        """From now on nothing waits for another process: the caller ends by itself."""
        self.begin()
        self._ended.set()
        with self._reading:
            if self._numbers >= 0:
                os.close(signal.set_wakeup_fd(self._old_wakeup))
                os.close(self._numbers)
                self._numbers = -1

    def _record(self, signum: int) -> None:
        def handle(number: int, _frame: FrameType | None) -> None:
            self.received = self.received or signal.Signals(number)

        if signum == signal.SIGHUP and signal.getsignal(signum) == signal.SIG_IGN:  # nohup
            return
        with contextlib.suppress(ValueError):  # not the main thread
            self._old_handlers[signum] = signal.signal(signum, handle)

    def _watch(self) -> None:
        self._end_before_training()
        self._end_a_hang()

    def _end_a_hang(self) -> None:
        """Ends the process when a signal has come and the main thread hangs in a call for a process that is lost.

        Such a call ends with the timeout, long after a launcher's patience. A process that only takes its time, for
        instance to save, is let alone: nobody is lost then.
        """
        while not self._ended.wait(HANG_SECONDS):
            self._read_numbers()
            if self.received is not None and (lost := self.lost_ranks()) and not self._ended.is_set():
                log.error("%s while training, all since the last checkpoint is lost: %s", self.received.name, lost)
                os._exit(LostProcess.exit_code)

    def _end_before_training(self) -> None:
        """Ends the process soon after a signal, or after its launcher has ended.

        In a thread, which reads the signals' numbers: the main thread, where handlers run, may hang in a call that
        waits for another process.
        """
        while not self._begun.wait(POLL):
            self._read_numbers()
            if launcher.launcher_died():
                log.warning("the launcher has ended before training began; nothing was lost")
                os._exit(128 + signal.SIGTERM)
            if self.received is not None:
                self._end(self.received)

    def _read_numbers(self) -> None:
        with self._reading:
            while self._numbers >= 0 and select.select([self._numbers], [], [], 0)[0]:
                for number in os.read(self._numbers, 100):
                    if number in self._old_handlers:
                        self.received = self.received or signal.Signals(number)

    def _end(self, signum: signal.Signals) -> None:
        lost = self.lost_ranks()
        if self._begun.is_set():
            return
        if lost:
            log.error("%s before training began, nothing was lost: %s", signum.name, lost)
            os._exit(LostProcess.exit_code)
        log.info("stopped by %s before training began; nothing was lost", signum.name)
        os._exit(128 + signum)
