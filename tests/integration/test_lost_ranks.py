"""A rank that is stopped, killed, or cut off is named by the others, within the configured time; then all goes on."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

from distgan.training.checkpoint import storage
from tests.support import hosts, warm
from tests.support.processes import TORCHRUN, TWO, held_port, kill_all, start, wait_for

pytestmark = pytest.mark.slow
PLANTED = "tests/support/faulty_trainer.py"
SLOW_TWO = (*TORCHRUN, "2", PLANTED, "slow_steps")

AGENT = """
import os, time, torch.distributed as dist
store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
begin = store.num_keys()
print(store.port, flush=True)
while store.num_keys() == begin:
    time.sleep(0.05)
os._exit(1)
"""


def trainers(process) -> dict[int, psutil.Process]:
    """The trainer of each rank under a launcher."""
    children = psutil.Process(process.pid).children(recursive=True)
    return {int(child.environ()["RANK"]): child for child in children if "RANK" in child.environ()}


def saved(directory) -> list[int]:
    return storage.steps(directory / "checkpoints")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_stalled_rank_is_named_by_the_other_and_the_next_start_ends_right(tiny, tmp_path, rank):
    overrides = tiny("train.timeout_minutes=0.1", "train.images=360")
    assert warm.train([*overrides, "run.name=whole"], 2).code == 0
    process = start([*SLOW_TWO, *overrides], log := tmp_path / "log", PYTHONPATH=".")
    wait_for(lambda: saved(tmp_path / "quickstart"), process)
    stalled = trainers(process)[rank]
    stalled.suspend()
    begin = time.monotonic()
    other = 1 - rank
    named = re.compile(
        rf"rank {rank} \(machine \S+, process {stalled.pid}\) does not answer, last heard of at step \d+"
        if rank  # rank 0 keeps the store: without it nobody knows its step
        else r"rank 0 does not answer \(machine \S+, \S+\): it was killed or stopped, or the network to it is cut"
    )
    wait_for(lambda: f"[rank {other}] " in log.read_text() or named.search(log.read_text()), process, 60)
    wait_for(lambda: len(named.findall(log.read_text())) >= 1, process, 60)
    assert time.monotonic() - begin < 6 + 30, "the timeout is 6 s"
    kill_all(process)
    assert "Traceback" not in log.read_text().split("torch/distributed")[0]
    code, output = warm.train(overrides, 2)
    assert code == 0, output
    assert state(tmp_path / "quickstart") == state(tmp_path / "whole")


@pytest.mark.parametrize("later", [0.5, 2.5])
def test_trainers_whose_launcher_dies_before_training_begins_do_not_linger(tiny, tmp_path, later):
    """They may hang in a call that waits for the launcher, with ten minutes of patience."""
    process = start([*TWO, *tiny("train.images=120000")], log := tmp_path / "log")
    wait_for(lambda: len(trainers(process)) == 2, process)
    time.sleep(later)
    orphans = list(trainers(process).values())
    process.kill()
    process.wait()
    assert psutil.wait_procs(orphans, timeout=45)[1] == [], log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_rank_whose_launcher_dies_while_the_ranks_are_joined_reports_it_in_a_sentence(tiny, tmp_path):
    """A process of its own is torchrun's agent here, with its store. It ends once rank 1 waits in it for rank 0."""
    agent = subprocess.Popen([sys.executable, "-c", AGENT], stdout=subprocess.PIPE, text=True)
    meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": agent.stdout.readline().strip(), "WORLD_SIZE": "2"}
    own = {"RANK": "1", "LOCAL_RANK": "1", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    rank = start([sys.executable, "distgan/train.py", *tiny()], log := tmp_path / "log", **meet, **own)
    assert rank.wait(60) == 3
    text = log.read_text()
    assert "[rank 1] the processes could not be joined, nothing was lost: " in text
    assert "Traceback" not in text


def test_a_killed_rank_is_named_by_its_process_and_exit_code_3_says_try_again(tiny, tmp_path):
    """Without a launcher that would end the other first."""
    overrides = tiny("train.timeout_minutes=0.2", "train.images=12000")
    with held_port() as port:
        meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
        ranks = [
            start([sys.executable, "distgan/train.py", *overrides], tmp_path / f"log{rank}", RANK=str(rank), **meet)
            for rank in range(2)
        ]
        wait_for(lambda: saved(tmp_path / "quickstart"), ranks[0])
    ranks[1].kill()
    ranks[1].wait()
    assert ranks[0].wait(60) == 3
    text = (tmp_path / "log0").read_text()
    assert re.search(rf"rank 1 \(machine \S+, process {ranks[1].pid}\) does not answer, last heard of at step", text)
    assert "Traceback" not in text


@pytest.mark.parametrize("failing", [0, 1])
def test_a_rank_that_ends_by_an_error_of_its_own_is_quoted_by_the_other(tiny, tmp_path, shapes, failing):
    """One rank reads another folder, in which the shards are cut short; both have the same manifest."""
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in shapes.iterdir():
        content = path.read_bytes()
        (broken / path.name).write_bytes(content if path.suffix == ".json" else content[: len(content) // 2])
    overrides = tiny("train.timeout_minutes=0.3", "data.mode=stream", "data.workers=0")
    logs = [tmp_path / f"log{rank}" for rank in range(2)]
    with held_port() as port:
        meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
        ranks = [
            start(
                [sys.executable, "distgan/train.py", *overrides, *([f"data.path={broken}"] * (rank == failing))],
                logs[rank], RANK=str(rank), **meet,
            )
            for rank in range(2)
        ]  # fmt: skip
        assert [rank.wait(120) for rank in ranks] == [2 if rank == failing else 3 for rank in range(2)]
    said = logs[failing].read_text().strip().splitlines()[-1].removeprefix("[rank 1] ")
    assert "shard" in said or "image train-" in said
    assert f"rank {failing} has ended: {said[:200]}" in logs[1 - failing].read_text()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_rank_alone_stops_both_at_the_same_step_and_saves(tiny, tmp_path, rank):
    process = start([*TWO, *tiny("train.images=120000")], log := tmp_path / "log")
    try:
        wait_for(lambda: saved(tmp_path / "quickstart"), process)
        trainers(process)[rank].send_signal(signal.SIGTERM)
        assert process.wait(60) != 0
    finally:
        if process.poll() is None:
            kill_all(process)
    text, newest = log.read_text(), saved(tmp_path / "quickstart")[-1]
    assert text.count("stopped by SIGTERM at") == 1, text
    assert f"stopped by SIGTERM at {newest * 12:,} images; everything is saved" in text


def test_a_second_signal_while_a_slow_disk_saves_does_no_harm(tiny, tmp_path):
    overrides = tiny("train.images=12000")
    process = start([*TORCHRUN, "2", PLANTED, "disk_slow", *overrides], log := tmp_path / "log", PYTHONPATH=".")
    wait_for(lambda: saved(tmp_path / "quickstart"), process)
    ranks = trainers(process)
    for _ in range(4):
        for rank in ranks.values():
            rank.send_signal(signal.SIGTERM)
        time.sleep(0.4)
    process.wait(60)
    text = log.read_text()
    assert text.count("stopped by SIGTERM at") == 1, text
    newest = saved(tmp_path / "quickstart")[-1]
    assert f"stopped by SIGTERM at {newest * 12:,} images" in text
    assert "Traceback" not in text.split("torch/distributed")[0]


def state(directory):
    """The last checkpoint's bits."""
    return (directory / "checkpoints" / f"step-{saved(directory)[-1]:09d}" / "state.safetensors").read_bytes()


@pytest.mark.needs("hosts")
def test_a_cut_network_ends_both_hosts_in_the_configured_time_and_names_the_other(tiny, tmp_path):
    overrides = tiny("train.timeout_minutes=0.15", "train.images=600")
    assert warm.train([*overrides, "run.name=whole"], 2).code == 0
    with hosts.two_hosts(tmp_path) as two:
        logs = [tmp_path / f"log{host}" for host in range(2)]

        def launch(script):
            return [
                two.start(
                    host,
                    [
                        sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1",
                        "--node_rank", str(host), "--master_addr", two.addresses[0], "--master_port", "29511",
                        *script, *overrides,
                    ],
                    logs[host], GLOO_SOCKET_IFNAME=two.interface, PYTHONPATH=".",
                )
                for host in range(2)
            ]  # fmt: skip

        launchers = launch([PLANTED, "slow_steps"])
        wait_for(lambda: saved(tmp_path / "quickstart"), launchers[0])
        two.cut(1)
        begin = time.monotonic()
        assert [launcher.wait(120) for launcher in launchers] != [0, 0]
        assert time.monotonic() - begin < 9 + 60
        assert re.search(r"rank 1 \(machine h2, process \d+\) does not answer", logs[0].read_text())
        assert re.search(r"rank 0 does not answer \(machine h1, ", logs[1].read_text())
        two.heal(1)
        launchers = launch(["distgan/train.py"])
        assert [launcher.wait(120) for launcher in launchers] == [0, 0]
    assert "resumed from" in logs[0].read_text()
    assert state(tmp_path / "quickstart") == state(tmp_path / "whole")


def test_resumed_on_two_four_and_one_processes_it_trains_what_one_process_trains(tiny, tmp_path):
    overrides = tiny("train.batch_size=12", "data.flip=true", "checkpoint.keep_last=9")
    assert warm.train([*overrides, "run.name=whole"]).code == 0
    for processes, images in ((2, 60), (4, 120), (1, 180), (2, 240)):
        code, output = warm.train([*overrides, f"train.images={images}"], processes)
        assert code == 0, output
        assert images == 60 or f"{images - 60} images seen" in output
        assert images == 60 or "the global batch stays 12" in output
    whole, parts = (
        storage.load(tmp_path / name / "checkpoints" / "step-000000020") for name in ("whole", "quickstart")
    )
    assert parts[1]["d"]["updates"] == whole[1]["d"]["updates"] == 20
    for name, tensor in whole[0].items():
        if name.startswith(("g/", "d/", "ema/")):
            assert (parts[0][name] - tensor).norm() <= 1e-4 * tensor.norm(), name
