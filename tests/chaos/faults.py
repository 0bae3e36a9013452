"""The faults, one function each: disturbs a new run once, lets it end, checks that nothing was lost.

Each returns the seconds from the fault until the run had something new on disk (a checkpoint, or its end). The
docstring's two parts, cut at the dash, are the table's: what is wrong - how it was done.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from tests.chaos.ground import PLANTED, TRAINER, Ground, Lost, Run, wait_until
from tests.support import hosts
from tests.support.processes import kill_all

ELASTIC = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--max_restarts", "3", "--nproc_per_node")


def ranks(process) -> dict[int, psutil.Process]:
    """The trainers under a launcher."""
    found = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if "RANK" in (environment := child.environ()) and any(
                    TRAINER in part or PLANTED in part for part in child.cmdline()
                ):
                    found.setdefault(int(environment["RANK"]), child)
    return found


def at_random(run: Run, process) -> None:
    """Waits for a random moment of the run's life: start, data, training, checkpoints, export."""
    end = time.monotonic() + run.ground.random.uniform(0.5, run.ground.life)
    wait_until(lambda: time.monotonic() > end, process)


def first_checkpoint(run: Run, process) -> None:
    if not wait_until(run.steps, process):
        raise Lost(f"no checkpoint came: {run.tail()}")


def again(run: Run, processes: int = 2) -> float:
    """The same command, until it has trained to the end, with the bits of an undisturbed run."""
    seconds = run.until_it_ends(run.command(processes))
    run.must_equal_undisturbed(processes)
    return seconds


def sigkill_of_one_rank(ground: Ground) -> float:
    """one of two ranks killed - SIGKILL at a random moment; the same command again"""
    run = ground.new_run()
    process = run.start(run.command(2))
    at_random(run, process)
    found = ranks(process)
    if found:
        ground.random.choice(list(found.values())).kill()
    process.wait(120)
    return again(run)


def sigkill_of_all(ground: Ground) -> float:
    """both ranks and the launcher killed - SIGKILL at a random moment; the same command again"""
    run = ground.new_run()
    process = run.start(run.command(2))
    at_random(run, process)
    kill_all(process)
    return again(run)


def sigkill_of_the_launcher(ground: Ground) -> float:
    """the launcher killed - SIGKILL of torchrun alone at a random moment; the same command again at once"""
    run = ground.new_run()
    process = run.start(run.command(2))
    at_random(run, process)
    orphans = list(ranks(process).values())
    process.kill()
    process.wait()
    seconds = again(run)
    if psutil.wait_procs(orphans, timeout=60)[1]:
        raise Lost("an orphaned trainer goes on")
    return seconds


def sigkill_of_a_single_process(ground: Ground) -> float:
    """the only process killed - SIGKILL at a random moment, without a launcher; the same command again"""
    run = ground.new_run()
    process = run.start(run.command(1))
    at_random(run, process)
    process.kill()
    process.wait()
    return again(run, 1)


def sigkill_while_a_checkpoint_is_written(ground: Ground) -> float:
    """killed in the middle of a checkpoint - SIGKILL of all while .step-*.tmp exists (writes slowed down)"""
    run = ground.new_run()
    process = run.start(run.command(2, PLANTED, "slow_writes"))
    wanted = ground.random.randint(1, min(5, ground.images // 600))  # slow writes leave some of a short run's out
    seen: set[str] = set()

    def writing() -> bool:
        seen.update(path.name for path in (run.directory / "checkpoints").glob(".step-*.tmp"))
        return len(seen) >= wanted

    if not wait_until(writing, process):
        raise Lost(f"no checkpoint was being written: {run.tail()}")
    time.sleep(ground.random.uniform(0, 0.8))
    kill_all(process)
    return again(run)


def sigkill_while_the_generator_is_exported(ground: Ground) -> float:
    """killed in the middle of the export - SIGKILL of all while .generator.*.tmp exists (writes slowed down)"""
    run = ground.new_run()
    process = run.start(run.command(2, PLANTED, "slow_writes"))
    if not wait_until(lambda: list(run.directory.glob(".generator.safetensors.*.tmp")), process):
        raise Lost(f"no export was being written: {run.tail()}")
    kill_all(process)
    return again(run)


def sigkill_under_an_elastic_launcher(ground: Ground) -> float:
    """one of two ranks killed under --max_restarts - SIGKILL after the first checkpoint; nobody starts anything"""
    run = ground.new_run()
    environment = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    process = run.start(run.command(2, launcher=ELASTIC), **environment)
    first_checkpoint(run, process)
    time.sleep(ground.random.uniform(0, 3))
    newest = run.newest()
    if found := ranks(process):
        ground.random.choice(list(found.values())).kill()
    begin = time.monotonic()
    wait_until(lambda: run.newest() > newest, process)
    seconds = time.monotonic() - begin
    if process.wait(180):
        raise Lost(f"it did not come back: {run.tail()}")
    run.must_equal_undisturbed(2)
    return seconds


def signal_to_the_launcher(ground: Ground) -> float:
    """asked to stop - SIGTERM or SIGINT to torchrun at a random moment; the same command again"""
    run = ground.new_run()
    process = run.start(run.command(2))
    at_random(run, process)
    process.send_signal(ground.random.choice([signal.SIGTERM, signal.SIGINT]))
    process.wait(60)
    return again(run)


def signal_to_a_single_process(ground: Ground) -> float:
    """asked to stop, one process - SIGTERM or SIGINT at a random moment, twice; the same command again"""
    run = ground.new_run()
    process = run.start(run.command(1))
    at_random(run, process)
    chosen = ground.random.choice([signal.SIGTERM, signal.SIGINT])
    process.send_signal(chosen)
    time.sleep(0.05)
    process.send_signal(chosen)
    if process.wait(60) not in (0, 128 + chosen, -chosen):  # -chosen: before Python has come to its first line
        raise Lost(f"exit code {process.returncode}: {run.tail()}")
    return again(run, 1)


def stalled_rank(ground: Ground) -> float:
    """a rank stops answering - SIGSTOP of one of two ranks, timeout 6 s; it is named; the same command again"""
    run = ground.new_run()
    run.more = ("train.timeout_minutes=0.1",)
    process = run.start(run.command(2, PLANTED, "slower_steps"))
    first_checkpoint(run, process)
    rank = ground.random.choice([0, 1])
    begin = time.monotonic()
    ranks(process)[rank].suspend()
    if not wait_until(lambda: f"rank {rank} " in run.log.read_text(), process, 60):
        run.says(f"rank {rank} ")
    kill_all(process)
    run.says("does not answer")
    named = time.monotonic() - begin
    return named + again(run)


@contextlib.contextmanager
def two_launchers(run: Run, two, script: tuple[str, ...]) -> Iterator[list[subprocess.Popen]]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1"]
    command += ["--master_addr", two.addresses[0], "--master_port", "29511", "--node_rank"]
    started = [
        two.start(host, [*command, str(host), *script, *run.overrides], run.log, PYTHONPATH=".") for host in (0, 1)
    ]
    try:
        yield started
    finally:
        for process in started:
            if process.poll() is None:
                kill_all(process)


def both_again(run: Run, two, begin: float) -> float:
    """Both launchers started again, until the end with the bits of an undisturbed run; seconds since `begin`."""
    newest = run.newest()
    with two_launchers(run, two, (TRAINER,)) as started:
        wait_until(lambda: run.newest() > newest, started[0])
        seconds = time.monotonic() - begin
        if [process.wait(180) for process in started] != [0, 0]:
            raise Lost(run.tail())
    run.must_equal_undisturbed(2)
    return seconds


def cut_network(ground: Ground) -> float:
    """the network between two hosts is cut - timeout 9 s; both name the other and end; healed, started again"""
    run = ground.new_run()
    run.more = ("train.timeout_minutes=0.15",)
    scratch = ground.root / f"{run.name}.net"
    scratch.mkdir()
    with hosts.two_hosts(scratch) as two:
        with two_launchers(run, two, (PLANTED, "slower_steps")) as started:
            first_checkpoint(run, started[0])
            begin = time.monotonic()
            two.cut(1)
            for process in started:
                process.wait(120)
        run.says("rank 1 (machine h2, ")
        run.says("rank 0 does not answer (machine h1, ")
        two.heal(1)
        return both_again(run, two, begin)


def lost_host(ground: Ground) -> float:
    """one of two hosts dies - all its processes SIGKILLed; both launchers started again"""
    run = ground.new_run()
    run.more = ("train.timeout_minutes=0.15",)
    scratch = ground.root / f"{run.name}.net"
    scratch.mkdir()
    with hosts.two_hosts(scratch) as two:
        with two_launchers(run, two, (TRAINER,)) as started:
            first_checkpoint(run, started[0])
            begin = time.monotonic()
            for process in two.processes(ground.random.choice([0, 1])):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            for process in started:
                process.wait(120)
        return both_again(run, two, begin)


@contextlib.contextmanager
def own_disk(run: Run, size: str) -> Iterator[Path]:
    """The run directory on a file system of its own."""
    run.directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", run.directory], check=True)
    try:
        yield run.directory
    finally:
        subprocess.run(["umount", "--lazy", run.directory], check=True)


def disturbed_disk(ground: Ground, disturb, mend) -> float:
    run = ground.new_run()
    with own_disk(run, "64m") as directory:
        process = run.start(run.command(2, PLANTED, "slower_steps"))
        first_checkpoint(run, process)
        disturb(directory)
        if not wait_until(lambda: "cannot be written" in run.log.read_text(), process):
            raise Lost(f"nobody was told: {run.tail()}")
        before = run.newest()
        checkpoints = run.steps()
        mend(directory)
        begin = time.monotonic()
        if not checkpoints:
            raise Lost("the old checkpoints are gone")
        wait_until(lambda: run.newest() > before, process)
        seconds = time.monotonic() - begin
        if process.wait(180):
            raise Lost(run.tail())
        run.must_equal_undisturbed(2)
    return seconds


def full_disk(ground: Ground) -> float:
    """the disk is full - the run's file system filled up, freed after the first warning; nobody starts anything"""

    def fill(directory: Path) -> None:
        with contextlib.suppress(OSError), (directory / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))

    return disturbed_disk(ground, fill, lambda directory: (directory / "filler").unlink())


def unwritable_directory(ground: Ground) -> float:
    """the run directory becomes read-only - checkpoints/ remounted read-only, and back after the first warning"""

    def freeze(directory: Path) -> None:
        place = directory / "checkpoints"
        subprocess.run(["mount", "--bind", place, place], check=True)
        subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True)

    return disturbed_disk(
        ground, freeze, lambda directory: subprocess.run(["umount", directory / "checkpoints"], check=True)
    )


def slow_disk(ground: Ground) -> float:
    """the disk is slow - every checkpoint takes 2 s more than its interval; left-out ones are said"""
    run = ground.new_run()
    run.more = ("train.images=480", "checkpoint.every_steps=5")
    begin = time.monotonic()
    process = run.start(run.command(2, PLANTED, "disk_slow"))
    if process.wait(120):
        raise Lost(run.tail())
    run.says("is still being written after")
    if run.newest() != 40:
        raise Lost("the last checkpoint is missing")
    run.result()
    return time.monotonic() - begin


def damaged_checkpoint(ground: Ground) -> float:
    """the newest checkpoint is damaged - one byte changed between two starts; the one before it is used"""
    run = ground.new_run()
    process = run.start(run.command(2))
    wait_until(lambda: len(run.steps()) > 1, process)
    kill_all(process)
    path = run.directory / "checkpoints" / f"step-{run.newest():09d}" / "state.safetensors"
    content = bytearray(path.read_bytes())
    content[ground.random.randrange(len(content))] ^= 1 << ground.random.randrange(8)
    path.write_bytes(content)
    seconds = again(run)
    run.says("is damaged: its sha256")
    return seconds


def ranks_out_of_step(ground: Ground) -> float:
    """a rank computes something else - one all-reduce of D left out; the guard ends it; the same command again"""
    run = ground.new_run()
    process = run.start(run.command(2, PLANTED, "skipped_all_reduce"))
    process.wait(120)
    run.says("rank 1 holds another d/")
    return again(run)


def not_a_number(ground: Ground) -> float:
    """a weight becomes NaN - once, on all ranks; rolled back with lower learning rates, trained to the end"""
    run = ground.new_run()
    run.more = ("train.images=480", "checkpoint.every_steps=5", "log.every_steps=5")
    begin = time.monotonic()
    process = run.start(run.command(2, PLANTED, "nan_once"))
    if process.wait(120):
        raise Lost(run.tail())
    run.says("back to step 10 with 0.5 times the learning rates")
    if not run.result():
        raise Lost("no result")
    return time.monotonic() - begin


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


def web_server_goes_away(ground: Ground) -> float:
    """the server of the shards goes away - closed for 3 s while streaming; retried, nobody starts anything"""
    run = ground.new_run()
    server = serve(ground.data, 0)
    port = server.server_address[1]
    run.more = (f"data.path=http://127.0.0.1:{port}", "data.prepare=null", "data.mode=stream", "data.workers=1")
    process = run.start(run.command(2, PLANTED, "slower_steps"))
    first_checkpoint(run, process)
    server.shutdown()
    server.server_close()
    time.sleep(3)
    newest, begin = run.newest(), time.monotonic()
    server = serve(ground.data, port)
    wait_until(lambda: run.newest() > newest, process)
    seconds = time.monotonic() - begin
    code = process.wait(180)
    server.shutdown()
    server.server_close()
    if code:
        raise Lost(run.tail())
    undisturbed = Run(ground, f"{run.name}-undisturbed", ("data.mode=stream", "data.workers=1"))
    undisturbed.until_it_ends(undisturbed.command(2))
    if undisturbed.result() != run.result():
        raise Lost("the bits are not those of an undisturbed run from local shards")
    return seconds


def serve(directory: Path, port: int) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", port), partial(Quiet, directory=str(directory)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def slurm_requeue(ground: Ground) -> float:
    """SLURM takes the job away - `scontrol requeue` on two nodes after the first checkpoint; it comes back by itself"""
    from tests.support import slurm

    run = ground.new_run()
    scratch = ground.root / f"{run.name}.slurm"
    scratch.mkdir()
    with slurm.cluster(scratch) as cluster:
        job = cluster.submit(run.log, "--nodes=2", "launch/slurm.sbatch", *run.overrides)
        cluster.wait(job, lambda _facts: run.steps())
        begin = time.monotonic()
        cluster.call("scontrol", "requeue", job)
        cluster.wait(job, lambda _facts: ", start 2: 2 task(s)" in run.log.read_text())
        newest = run.newest()
        while run.newest() <= newest and time.monotonic() < begin + 180:
            time.sleep(0.05)
        seconds = time.monotonic() - begin
        if (end := cluster.wait_for_end(job)) != "COMPLETED":
            raise Lost(f"the job ended as {end}: {run.tail()}")
    run.must_equal_undisturbed(2)
    return seconds


KILLS = (
    sigkill_of_one_rank,
    sigkill_of_all,
    sigkill_of_the_launcher,
    sigkill_of_a_single_process,
    sigkill_while_a_checkpoint_is_written,
    sigkill_while_the_generator_is_exported,
)
OTHERS = (
    sigkill_under_an_elastic_launcher,
    signal_to_the_launcher,
    signal_to_a_single_process,
    stalled_rank,
    ranks_out_of_step,
    not_a_number,
    damaged_checkpoint,
    slow_disk,
    web_server_goes_away,
)
NEEDS_ROOT = (full_disk, unwritable_directory, cut_network, lost_host, slurm_requeue)


def possible(fault) -> str:
    """Why a fault cannot be tried here, or nothing."""
    if fault is slurm_requeue:
        from tests.support import slurm

        return slurm.missing()
    if fault in (cut_network, lost_host):
        return hosts.missing()
    if fault in NEEDS_ROOT and (os.geteuid() or not shutil.which("mount")):
        return "needs root, to mount a file system"
    return ""
