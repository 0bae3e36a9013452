"""What the processes of one launch look at together. Every function here but the pure ones is for every rank.

`Together` keeps a process that waits for the others from waiting for one that has failed: a failure goes to a small
store (torch's TCPStore, on rank 0's machine) that a thread of every process looks at.
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
from distgan.doctor.disk import hidden_file, place_of
from distgan.doctor.finding import Finding, fail, nearest, ok, shown_seconds, warn
from distgan.training.consistency import check_same_data, check_same_recipe

POLL = 1.0  # seconds
GRACE = 5.0  # seconds that a waiting process has to notice by itself that another has failed
STORE = 30.0  # seconds of a call to the store
CLOCKS = 2.0  # seconds that clocks may differ
NFS = 5.0  # seconds that a shared directory may take to show a new file


class Member(NamedTuple):
    """One process."""

    rank: int
    host: str
    device: str
    gpu: str
    """Its identity, or nothing."""
    versions: tuple[str, ...]
    clock: float


class PeerFailures:
    """Word of failures between the processes of a launch. Nothing where there is one process."""

    def __init__(self, accelerator: Accelerator, leave: Callable[[str], None]) -> None:
        """leave: is called, in a thread, with what has failed elsewhere while this process hangs."""
        self.accelerator, self.rank, self.world = accelerator, accelerator.process_index, accelerator.num_processes
        self._leave, self._over = leave, threading.Event()
        if self.world > 1:
            self._store = self._open()
            self._watcher = threading.Thread(target=self._watch, name="doctor", daemon=True)
            self._watcher.start()

    def failed(self, text: str) -> None:
        """This process has failed and makes no more collectives."""
        self._over.set()
        if self.world > 1:
            with contextlib.suppress(RuntimeError):
                self._store.set(f"why{self._store.add('failed', 1)}", f"rank {self.rank} ({platform.node()}): {text}")

    def failures(self) -> str:
        """What has failed elsewhere or here, or nothing."""
        try:
            count = self._store.add("failed", 0) if self.world > 1 else 0
            return "; ".join(sorted({self._store.get(f"why{place}").decode() for place in range(1, count + 1)})[:4])
        except RuntimeError:
            return "the main process has ended"

    def wait_for_main(self) -> None:
        """Where this process has failed: until the main process has said so."""
        if self.world > 1 and self.rank:
            with contextlib.suppress(RuntimeError):
                self._store.wait(["done"], datetime.timedelta(seconds=STORE))

    def done(self) -> None:
        """The report is made; nobody is watched any more."""
        self._over.set()
        if self.world > 1:
            with contextlib.suppress(RuntimeError):
                if self.rank == 0:
                    self._store.set("done", "1")
            # a thread that comes out of the store while Python ends takes the process with it (std::terminate)
            self._watcher.join(GRACE)

    def _open(self) -> Any:
        store, where = open_store(STORE)
        if store is None:
            raise RuntimeError(f"no way to the store on {where}")
        return store

    def _watch(self) -> None:
        while not self._over.wait(POLL):
            why = self.failures()
            if why and not self._over.wait(GRACE):
                self._leave(why)


def patiently(accelerator: Accelerator, work: Callable[[], Any]) -> None:
    """Lets the main process work as long as it takes, while the others come together every few seconds."""
    thread = threading.Thread(target=work, daemon=True)
    if accelerator.is_main_process:
        thread.start()

    def through() -> bool:
        thread.join(POLL)
        return not thread.is_alive()

    while not on_main(through):
        pass


def gathered(accelerator: Accelerator, value: Any) -> list[Any]:
    """Every rank's value."""
    return gather_objects(value)


def members(accelerator: Accelerator) -> list[Member]:
    """All processes, with their clocks at about the same moment."""
    device = accelerator.device
    gpu = str(getattr(torch.cuda.get_device_properties(device), "uuid", "")) if device.type == "cuda" else ""
    versions = (f"python {platform.python_version()}", f"torch {torch.__version__}", f"distgan {distgan.__version__}")
    accelerator.wait_for_everyone()
    own = Member(accelerator.process_index, platform.node(), str(device), gpu, versions, time.time())
    return gathered(accelerator, own)


def about_members(everyone: Sequence[Member]) -> list[Finding]:
    """Who is where, and whether they differ in what they should have in common."""
    hosts: dict[str, list[Member]] = {}
    for member in everyone:
        hosts.setdefault(member.host, []).append(member)
    where = ", ".join(f"{host}: {_ranks(there)}" for host, there in list(hosts.items())[:8])
    found = [ok("processes", f"{len(everyone)} on {len(hosts)} machine(s) have met; {where}")]
    counts = Counter(len(there) for there in hosts.values())
    if len(counts) > 1:
        text = f"{min(counts)} on some machines, {max(counts)} on others"
        found.append(warn("processes", text, "start as many on each: the slowest sets the pace"))
    if twice := [gpu for gpu, count in Counter(m.gpu for m in everyone if m.gpu).items() if count > 1]:
        ranks = [str(member.rank) for member in everyone if member.gpu == twice[0]]
        advice = "look at CUDA_VISIBLE_DEVICES and LOCAL_RANK"
        found.append(fail("processes", f"ranks {', '.join(ranks)} have the same GPU", advice))
    other = next((m for m in everyone if m.versions != everyone[0].versions), None)
    if other is not None:
        theirs, ours = ", ".join(other.versions), ", ".join(everyone[0].versions)
        text = f"rank {other.rank} ({other.host}) has {theirs}; rank 0 {ours}"
        found.append(warn("same versions", text, "install the same on every machine"))
    clocks = {member.clock - everyone[0].clock: member for member in everyone}
    furthest = max(clocks, key=abs)
    if abs(furthest) > CLOCKS:
        text = f"rank {clocks[furthest].rank}'s ({clocks[furthest].host}) is {furthest:+.1f} s off rank 0's"
        found.append(warn("clocks", text, "set them by NTP: logs and W&B would not fit together"))
    else:
        found.append(ok("clocks", f"within {shown_seconds(abs(furthest))} of each other"))
    return found


def _ranks(there: Sequence[Member]) -> str:
    ranks = [member.rank for member in there]
    shown = f"{ranks[0]}-{ranks[-1]}" if ranks == list(range(ranks[0], ranks[-1] + 1)) and len(ranks) > 1 else ranks[0]
    devices = list(dict.fromkeys(member.device for member in there))
    return f"rank {shown} ({devices[0]}{f' to {devices[-1]}' if len(devices) > 1 else ''})"


def same_recipe(accelerator: Accelerator, config: Config, digest: str) -> list[Finding]:
    """Raises LaunchError on every rank where one has another recipe or sees other images. digest: of the images."""
    check_same_recipe(accelerator, config)
    check_same_data(accelerator, digest, config.data.mode)
    return [ok("same recipe", "all processes were started with the same, and see the same images")]


def shared_directory(accelerator: Accelerator, run_dir: Path) -> list[Finding]:
    """Whether all processes see what the main process writes beside the run directory."""
    what = "shared directory"
    with contextlib.ExitStack() as stack:

        def write() -> tuple[str, int]:
            path = stack.enter_context(hidden_file(place_of(run_dir)))
            return path.name, len(run_dir.absolute().parent.parts) - len(path.parent.parts)

        name, above = on_main(write)
        own = run_dir.absolute().parents[above] / name
        end = time.monotonic() + NFS
        while not (there := own.exists()) and time.monotonic() < end:
            with contextlib.suppress(OSError):
                os.listdir(nearest(own.parent))  # a network file system looks again
            time.sleep(0.2)
        sees = gathered(accelerator, (there, platform.node()))
    blind = [f"rank {rank} ({host})" for rank, (there, host) in enumerate(sees) if not there]
    if blind:
        text = f"{', '.join(blind[:8])} did not see what rank 0 wrote in {own.parent}"
        return [fail(what, text, "set run.dir to a directory on storage that all machines share")]
    return [ok(what, f"all processes see what rank 0 writes in {own.parent}")]
