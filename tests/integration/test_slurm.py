"""launch/slurm.sbatch on a real SLURM with two nodes: to the end, stopped, preempted, killed, mistaken."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from distgan.training.checkpoint import storage
from tests.support import slurm, warm
from tests.support.config import TINY
from tests.support.slurm import Cluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.needs("slurm"),
]
SCRIPT = "launch/slurm.sbatch"
RESULT = "checkpoints/step-000000200/state.safetensors"  # 2400 images in batches of 12


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    with slurm.cluster(tmp_path_factory.mktemp("slurm")) as made:
        yield made


@pytest.fixture(autouse=True)
def no_job_is_left(cluster: Cluster) -> Iterator[None]:
    """Whatever a test has found, the next one has the nodes for itself."""
    yield
    cluster.call("scancel", "--user=root")
    end = time.monotonic() + 60
    while cluster.call("squeue", "--noheader"):
        assert time.monotonic() < end, "a job does not end"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def undisturbed(shapes, tmp_path_factory) -> bytes:
    """What two processes on one machine end with."""
    path = tmp_path_factory.mktemp("undisturbed")
    arguments = [*TINY, f"data.path={shapes}", f"run.dir={path}", "train.images=2400"]
    code, output = warm.train(arguments, 2)
    assert code == 0, output
    return (path / "quickstart" / RESULT).read_bytes()


def steps(directory: Path) -> list[int]:
    return storage.steps(directory / "quickstart" / "checkpoints")


def wait_for_steps(directory: Path, more_than: int, log: Path) -> int:
    """The newest checkpoint's step, as soon as it is a later one."""
    end = time.monotonic() + 180
    while not (found := steps(directory)) or found[-1] <= more_than:
        assert time.monotonic() < end, log.read_text() if log.exists() else "no output"
        time.sleep(0.05)
    return found[-1]


def preemption(cluster: Cluster, _job: str) -> None:
    cluster.call("sbatch", "--partition=urgent", "--nodes=2", "--ntasks-per-node=2", "--output=/dev/null", "--wrap=:")


def sigkill_of_one_task(cluster: Cluster, _job: str) -> None:
    trainers = [process for process in cluster.hosts.processes(1) if "distgan.train" in process.cmdline()]
    assert len(trainers) == 1
    trainers[0].send_signal(signal.SIGKILL)


@pytest.mark.parametrize("shape", [("--nodes=1", "--ntasks-per-node=2"), ("--nodes=2",)], ids=["one node", "two nodes"])
def test_a_job_ends_with_the_bits_of_two_processes_under_torchrun(cluster, tiny, tmp_path, undisturbed, shape):
    job = cluster.submit(log := tmp_path / "log", *shape, SCRIPT, *tiny("train.images=2400"))
    assert cluster.wait_for_end(job) == "COMPLETED", log.read_text()
    assert "2 process(es) on cpu" in log.read_text()
    assert (tmp_path / "quickstart" / "generator.safetensors").exists()
    assert (tmp_path / "quickstart" / RESULT).read_bytes() == undisturbed


@pytest.mark.parametrize("disturb", [preemption, sigkill_of_one_task])
def test_a_disturbed_job_comes_back_by_itself_and_ends_with_the_same_bits(
    cluster, tiny, tmp_path, undisturbed, disturb: Callable[[Cluster, str], None]
):
    job = cluster.submit(log := tmp_path / "log", "--nodes=2", SCRIPT, *tiny("train.images=2400"))
    wait_for_steps(tmp_path, 0, log)
    disturb(cluster, job)
    facts = cluster.wait(job, lambda facts: facts["Restarts"] == "1" or facts["JobState"] == "COMPLETED")
    assert facts["Restarts"] == "1", f"it was over before: {log.read_text()}"
    assert cluster.wait_for_end(job) == "COMPLETED", log.read_text()
    assert "resumed from" in log.read_text()
    assert (tmp_path / "quickstart" / RESULT).read_bytes() == undisturbed


def test_a_job_at_its_time_limit_comes_back_and_scancel_ends_it_for_good_after_saving(cluster, tiny, tmp_path):
    limit = ("--time=10", "--signal=B:USR1@60", "--nodes=2")
    job = cluster.submit(log := tmp_path / "log", *limit, SCRIPT, *tiny("train.images=1200000"))
    wait_for_steps(tmp_path, 0, log)
    _, minutes, _ = cluster.job(job)["RunTime"].split(":")
    cluster.call("scontrol", "update", f"JobId={job}", f"TimeLimit={int(minutes) + 1}")  # 60 s left: the signal
    cluster.wait(job, lambda facts: facts["Restarts"] == "1")
    cluster.call("scontrol", "update", f"JobId={job}", "TimeLimit=10")  # before it runs again, which takes 5 s
    cluster.wait(job, lambda facts: facts["JobState"] == "RUNNING")
    saved = steps(tmp_path)[-1]
    assert f"stopped by SIGTERM at {saved * 12:,} images" in log.read_text()
    newest = wait_for_steps(tmp_path, saved, log)
    cluster.call("scancel", job)
    assert cluster.wait_for_end(job) == "CANCELLED"
    end = time.monotonic() + 30
    while log.read_text().count("stopped by SIGTERM at") < 2:
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)
    assert steps(tmp_path)[-1] >= newest
    time.sleep(2)
    assert cluster.job(job)["JobState"] == "CANCELLED"


def test_a_job_with_a_mistake_does_not_come_back(cluster, tiny, tmp_path):
    job = cluster.submit(log := tmp_path / "log", "--nodes=2", SCRIPT, *tiny("train.imags=24"))
    assert cluster.wait_for_end(job) == "FAILED"
    assert cluster.job(job)["ExitCode"] == "2:0"
    assert cluster.job(job)["Restarts"] == "0"
    assert log.read_text().count("unknown key train.imags; nearest: train.images") == 1


def test_a_job_that_has_lost_a_process_too_often_ends_and_says_so(cluster, tiny, tmp_path):
    arguments = ("--nodes=2", SCRIPT, *tiny("train.images=1200000"))
    job = cluster.submit(log := tmp_path / "log", *arguments, MAX_LOSSES="0")
    wait_for_steps(tmp_path, 0, log)
    sigkill_of_one_task(cluster, job)
    assert cluster.wait_for_end(job) == "FAILED"
    assert "1 in a row; not again: MAX_LOSSES=0" in log.read_text()
    assert cluster.job(job)["Restarts"] == "0"
