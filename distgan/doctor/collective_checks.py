"""The checks that the processes of one launch make together. Every rank calls them; `check_members` is a pure function.

`PeerFailures` keeps a process from waiting for one that has failed: a failed process writes to a small store (torch's
TCPStore, on rank 0's machine), which a thread of every process reads.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator

import distgan
from distgan.config.schema import Config
from distgan.distributed.collectives import gather_objects, on_main, open_store
from distgan.doctor.check_result import CheckResult, existing_directory, fail, format_seconds, ok, warn
from distgan.doctor.disk import hidden_file, writable_directory
from distgan.training.consistency import check_same_data, check_same_recipe

POLL_SECONDS = 1.0
GRACE_SECONDS = 5.0  # for a waiting process to notice by itself that another has failed
STORE_SECONDS = 30.0  # for a call to the store
MAX_CLOCK_DIFFERENCE = 2.0  # seconds
NFS_SECONDS = 5.0  # for a shared directory to show a new file
MAX_NAMED = 8  # ranks or machines in a sentence


class Member(NamedTuple):
    """One process."""

    rank: int
    host: str
    device: str
    gpu: str
    """Identity of its GPU, empty on the CPU."""
    versions: tuple[str, ...]
    clock: float
    """Seconds since 1970."""


class PeerFailures:
    """Failures that processes of a launch report to one another. Does nothing where there is one process."""

    def __init__(self, accelerator: Accelerator, leave: Callable[[str], None]) -> None:
        """leave: is called in a thread, with the failures of the others, while this process hangs."""
        self.rank, self.world = accelerator.process_index, accelerator.num_processes
        self._leave, self._over = leave, threading.Event()
        if self.world > 1:
            self._store = self._open()
            self._watcher = threading.Thread(target=self._watch, name="doctor", daemon=True)
            self._watcher.start()

    def report(self, text: str) -> None:
        """Tells the others that this process has failed. It joins no more collectives."""
        self._over.set()
        if self.world > 1:
            with contextlib.suppress(RuntimeError):
                number = self._store.add("failures", 1)
                self._store.set(f"failure {number}", f"rank {self.rank} ({platform.node()}): {text}")

    def failures(self) -> str:
        """All reports so far, this process's too, in a sentence; empty if there are none."""
        try:
            count = self._store.add("failures", 0) if self.world > 1 else 0
            texts = {self._store.get(f"failure {number}").decode() for number in range(1, count + 1)}
            return "; ".join(sorted(texts)[:4])
        except RuntimeError:
            return "the main process has ended"

    def wait_for_main(self) -> None:
        """Waits, on a process that has failed, until the main process has printed its report."""
        if self.world > 1 and self.rank:
            with contextlib.suppress(RuntimeError):
                self._store.wait(["done"], datetime.timedelta(seconds=STORE_SECONDS))

    def done(self) -> None:
        """Ends the thread, and lets the processes end that wait in `wait_for_main`."""
        self._over.set()
        if self.world > 1:
            with contextlib.suppress(RuntimeError):
                if self.rank == 0:
                    self._store.set("done", "1")
            # a thread that comes out of the store while Python ends takes the process with it (std::terminate)
            self._watcher.join(GRACE_SECONDS)

    def _open(self) -> Any:
        store, address = open_store(STORE_SECONDS)
        if store is None:
            raise RuntimeError(f"the store on {address} cannot be reached")
        return store

    def _watch(self) -> None:
        while not self._over.wait(POLL_SECONDS):
            failures = self.failures()
            if failures and not self._over.wait(GRACE_SECONDS):
                self._leave(failures)


def work_on_main(accelerator: Accelerator, work: Callable[[], Any]) -> None:
    """Lets the main process work as long as it takes; the others meet it every few seconds, so none times out."""
    thread = threading.Thread(target=work, daemon=True)
    if accelerator.is_main_process:
        thread.start()

    def has_ended() -> bool:
        thread.join(POLL_SECONDS)
        return not thread.is_alive()

    while not on_main(has_ended):
        pass


def gather_members(accelerator: Accelerator) -> list[Member]:
    """All processes in order of their ranks, with their clocks at about the same moment."""
    device = accelerator.device
    gpu = str(getattr(torch.cuda.get_device_properties(device), "uuid", "")) if device.type == "cuda" else ""
    versions = (f"python {platform.python_version()}", f"torch {torch.__version__}", f"distgan {distgan.__version__}")
    accelerator.wait_for_everyone()
    return gather_objects(Member(accelerator.process_index, platform.node(), str(device), gpu, versions, time.time()))


def check_members(members: Sequence[Member]) -> list[CheckResult]:
    """Where the processes are, and whether their devices, versions and clocks suit one another."""
    hosts: dict[str, list[Member]] = {}
    for member in members:
        hosts.setdefault(member.host, []).append(member)
    places = ", ".join(f"{host}: {_ranks(there)}" for host, there in list(hosts.items())[:MAX_NAMED])
    results = [ok("processes", f"{len(members)} on {len(hosts)} machine(s) are connected; {places}")]
    counts = Counter(len(there) for there in hosts.values())
    if len(counts) > 1:
        text = f"{min(counts)} on some machines, {max(counts)} on others"
        results.append(warn("processes", text, "start as many on each: the slowest sets the pace"))
    if shared := [gpu for gpu, count in Counter(m.gpu for m in members if m.gpu).items() if count > 1]:
        ranks = ", ".join(str(member.rank) for member in members if member.gpu == shared[0])
        results.append(
            fail("processes", f"ranks {ranks} use the same GPU", "check CUDA_VISIBLE_DEVICES and LOCAL_RANK")
        )
    other = next((member for member in members if member.versions != members[0].versions), None)
    if other is not None:
        text = f"rank {other.rank} ({other.host}) has {', '.join(other.versions)}; rank 0 has "
        text += ", ".join(members[0].versions)
        results.append(warn("same versions", text, "install the same versions on every machine"))
    return [*results, _check_clocks(members)]


def _check_clocks(members: Sequence[Member]) -> CheckResult:
    furthest = max(members, key=lambda member: abs(member.clock - members[0].clock))
    difference = furthest.clock - members[0].clock
    if abs(difference) <= MAX_CLOCK_DIFFERENCE:
        return ok("clocks", f"they differ by {format_seconds(abs(difference))} at most")
    text = f"that of rank {furthest.rank} ({furthest.host}) differs by {difference:+.1f} s from rank 0's"
    return warn("clocks", text, "synchronise them by NTP: the times in logs and W&B would not match")


def _ranks(members: Sequence[Member]) -> str:
    """The ranks on one machine, and their devices."""
    ranks = [member.rank for member in members]
    in_a_row = len(ranks) > 1 and ranks == list(range(ranks[0], ranks[-1] + 1))
    devices = list(dict.fromkeys(member.device for member in members))
    shown = f"{ranks[0]}-{ranks[-1]}" if in_a_row else ranks[0]
    return f"rank {shown} ({devices[0]}{f' to {devices[-1]}' if len(devices) > 1 else ''})"


def check_same_configuration(accelerator: Accelerator, config: Config, digest: str) -> list[CheckResult]:
    """Raises LaunchError on every rank if one has another configuration or other images. digest: of the images."""
    check_same_recipe(accelerator, config)
    check_same_data(accelerator, digest, config.data.mode)
    return [ok("same recipe", "all processes have the same configuration and the same images")]


def check_shared_directory(run_dir: Path) -> list[CheckResult]:
    """Whether all processes see a file that the main process writes beside the run directory. Raises LaunchError."""
    what = "shared directory"
    with contextlib.ExitStack() as stack:

        def write() -> tuple[str, int]:
            path = stack.enter_context(hidden_file(writable_directory(run_dir)))
            return path.name, len(run_dir.absolute().parent.parts) - len(path.parent.parts)

        name, levels_up = on_main(write)
        path = run_dir.absolute().parents[levels_up] / name
        end = time.monotonic() + NFS_SECONDS
        while not (visible := path.exists()) and time.monotonic() < end:
            with contextlib.suppress(OSError):
                os.listdir(existing_directory(path.parent))  # makes a network file system look again
            time.sleep(0.2)
        answers = gather_objects((visible, platform.node()))
    blind = [f"rank {rank} ({host})" for rank, (visible, host) in enumerate(answers) if not visible]
    if blind:
        text = f"{', '.join(blind[:MAX_NAMED])} did not see the file that rank 0 wrote in {path.parent}"
        return [fail(what, text, "set run.dir to a directory on storage that all machines share")]
    return [ok(what, f"all processes see the file that rank 0 wrote in {path.parent}")]
