"""Data workers: processes that make batches while training goes on, and what is said when one hangs or is killed.

They hand batches over through /dev/shm. torch's DataLoader starts them and talks to them, in a thread: for a worker
that hangs while it hands a batch over, DataLoader waits for ever, the trainer only as long as it likes.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import multiprocessing
import os
import queue
import shutil
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from ctypes import c_byte
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from typing import Any, Generic, TypeVar

import psutil
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from distgan.distributed.signals import STOPPING
from distgan.utils.errors import DataError, Stalled

T = TypeVar("T")
GiveUp = Callable[[float], bool]
"""Is asked about once a second, with the seconds waited for one batch so far, whether to wait no longer."""
TICK = 1.0  # seconds
EXIT_SECONDS = 6.0  # for a worker to end by itself; DataLoader waits five
SHARED_MEMORY = Path("/dev/shm")


def batches_of_workers(
    make: Callable[[int], Iterator[T]], start: int, workers: int, pin_memory: bool, give_up: GiveUp
) -> Generator[T, None, None]:
    """Yields batches start, start + 1, ... without end.

    make: yields batches k, k + workers, k + 2 * workers, ..., in a worker. Raises its DataError, and Stalled for a
    worker that was killed, or once `give_up` says so.
    """
    closing = RawValue("b", 0)  # not an Event: setting one waits for workers that may have died
    loader = DataLoader(
        _WorkerDataset(make, start),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4,
        pin_memory=pin_memory,
        worker_init_fn=functools.partial(_start_worker, closing),
    )
    before = set(multiprocessing.active_children())
    with _own_child_handler():
        items = iter(loader)
    processes = [child for child in multiprocessing.active_children() if child not in before]
    ready: queue.Queue[Any] = queue.Queue(1)
    thread = threading.Thread(target=_pass_on, args=(items, ready, closing), name="data", daemon=True)
    thread.start()
    # where the caller never closes this, Python's end would wait for the workers
    end = atexit.register(functools.partial(_end, closing, thread))
    del items  # the thread has it, and ends it: that waits for the workers
    try:
        while True:
            if isinstance(item := _next_item(ready, processes, give_up), Exception):
                _check_killed_by(item, processes)
                raise item
            yield item
    except Stalled:
        for process in processes:
            process.kill()  # a stopped one would stay for ever
        raise
    finally:
        atexit.unregister(end)
        end()


def _end(closing: c_byte, thread: threading.Thread) -> None:
    closing.value = 1
    thread.join(EXIT_SECONDS)


def _pass_on(items: Iterator[Any], ready: queue.Queue[Any], closing: c_byte) -> None:
    """Puts all items, and the error after them, into `ready`, until `closing`."""

    def put(item: Any) -> None:
        while not closing.value:
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    try:
        while not closing.value:
            item = next(items)
            put(DataError(item) if isinstance(item, str) else item)
    except Exception as error:
        put(error)


def _next_item(ready: queue.Queue[Any], processes: Sequence[BaseProcess], give_up: GiveUp) -> Any:
    begin = time.monotonic()
    while True:
        with contextlib.suppress(queue.Empty):
            return ready.get(timeout=TICK)
        _check_killed(processes)
        waited = time.monotonic() - begin
        if give_up(waited):
            states = ", ".join(f"process {process.pid}: {_status(process)}" for process in processes)
            raise Stalled(f"the data workers ({states}) have given no batch for {waited:.0f} s; {_advice()}")


def _check_killed_by(error: Exception, processes: Sequence[BaseProcess]) -> None:
    """`_check_killed` after an error, since DataLoader may have noticed it first."""
    if isinstance(error, (EOFError, ConnectionError)):  # a pipe's other end is gone: its worker is dying
        ended = connection.wait([process.sentinel for process in processes], EXIT_SECONDS)
        for process in processes:
            if process.sentinel in ended:
                process.join(EXIT_SECONDS)  # it may not be reaped yet
    _check_killed(processes)


def _check_killed(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        if process.exitcode is not None and process.exitcode < 0:
            name = signal.Signals(-process.exitcode).name
            raise Stalled(f"a data worker (process {process.pid}) was killed by {name} (is memory full?); {_advice()}")


def _advice() -> str:
    free = shutil.disk_usage(SHARED_MEMORY).free / 2**20 if SHARED_MEMORY.is_dir() else 0
    return (
        f"they need memory in {SHARED_MEMORY}, where {free:.0f} MiB are free: give a container more (docker run "
        "--shm-size=8g), or set data.workers=0"
    )


def _status(process: BaseProcess) -> str:
    with contextlib.suppress(psutil.Error):
        return str(psutil.Process(process.pid).status())
    return "ended"


@contextlib.contextmanager
def _own_child_handler() -> Iterator[None]:
    """Keeps DataLoader from raising an error between any two lines of this process when a worker has ended."""
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, before)


class _WorkerDataset(IterableDataset[Any], Generic[T]):
    """The batches that one worker of the loader makes, or the text of an error."""

    def __init__(self, make: Callable[[int], Iterator[T]], start: int) -> None:
        self.make, self.start = make, start

    def __iter__(self) -> Iterator[T | str]:
        worker = get_worker_info()
        try:
            yield from self.make(self.start + (worker.id if worker else 0))
        except DataError as error:
            yield str(error)


def _start_worker(closing: c_byte, _worker: int) -> None:
    """Prepares a worker process before its first batch."""
    _ignore_signals()
    threading.Thread(target=_exit_with_trainer, args=(closing, os.getppid()), daemon=True).start()


def _ignore_signals() -> None:
    """Ignores the signals that stop the trainer, which ends its workers itself."""
    for signum in STOPPING:
        signal.signal(signum, signal.SIG_IGN)


def _exit_with_trainer(closing: c_byte, trainer: int) -> None:
    """Ends a worker that still waits for a server or a disk after the trainer has closed its batches or ended."""
    while not closing.value and os.getppid() == trainer:
        time.sleep(1)
    time.sleep(EXIT_SECONDS)
    os._exit(0)
