"""SLURM on this machine: a controller, and a node on each of two hosts (hosts.py). Needs root, slurm-wlm and munge."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from tests.support import hosts
from tests.support.processes import BIN, ROOT, environment

CONFIGURATION = """
ClusterName=test
SlurmctldHost={machine}({controller})
SlurmctldPort={port}
AuthType=auth/munge
# cred_expire: as long as this a requeued job waits before it starts again (the least is 5 s, otherwise 120 s)
AuthInfo=socket={scratch}/munge/socket,cred_expire=5
SlurmUser=root
SlurmctldPidFile={scratch}/slurmctld.pid
SlurmdPidFile={scratch}/slurmd.%n.pid
SlurmctldLogFile={scratch}/slurmctld.log
SlurmdLogFile={scratch}/slurmd.%n.log
StateSaveLocation={scratch}/state
SlurmdSpoolDir={scratch}/spool.%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmdTimeout=30
KillWait=20
MpiDefault=none
JobRequeue=1
SchedulerParameters=bf_interval=1,sched_min_interval=100000,batch_sched_delay=0,sched_interval=1
NodeName=h1 NodeHostname=h1 NodeAddr={h1} Port=6818 CPUs=2 RealMemory=1000
NodeName=h2 NodeHostname=h2 NodeAddr={h2} Port=6818 CPUs=2 RealMemory=1000
PartitionName=train Nodes=h1,h2 Default=YES MaxTime=INFINITE State=UP GraceTime=30 PriorityTier=1
PartitionName=urgent Nodes=h1,h2 MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
"""
DIE_WITH_PYTEST = ("setpriv", "--pdeathsig", "KILL")  # the nodes' daemons are found by the next test


def missing() -> str:
    """Why SLURM cannot be had here, or nothing."""
    tools = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "setpriv")
    if lacking := [tool for tool in tools if not shutil.which(tool, path=search_path())]:
        return f"needs the command {lacking[0]}: apt-get install slurm-wlm munge"
    return hosts.missing()


def search_path() -> str:
    """The interpreter's own directory first, so that a job's `python` is it; the daemons lie where only root looks."""
    return f"{BIN}:{os.environ['PATH']}:/usr/sbin:/sbin"


class Cluster:
    """Two nodes, h1 and h2, of two CPUs each. Partition `urgent` preempts `train`, the default, after 30 s of grace."""

    def __init__(self, network: hosts.Hosts, scratch: Path) -> None:
        self.hosts = network
        self.scratch = scratch
        self.environment = environment(
            SLURM_CONF=str(scratch / "slurm.conf"), PATH=search_path(), GLOO_SOCKET_IFNAME=network.interface
        )

    def call(self, *command: str, **env: str) -> str:
        done = subprocess.run(
            command, cwd=ROOT, env={**self.environment, **env}, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout.strip()

    def submit(self, log: Path, *arguments: str, **env: str) -> str:
        """sbatch's options, the script and its arguments. Returns the job's number; its output goes to `log`."""
        return self.call("sbatch", "--parsable", f"--output={log}", *arguments, **env)

    def job(self, job: str) -> dict[str, str]:
        """What `scontrol show job` tells."""
        return dict(word.split("=", 1) for word in self.call("scontrol", "show", "job", job).split() if "=" in word)

    def wait(self, job: str, condition: Callable[[dict[str, str]], object], timeout: float = 120) -> dict[str, str]:
        """The job, as soon as the condition on it holds. Raises AssertionError when the time is over."""
        end = time.monotonic() + timeout
        while not condition(facts := self.job(job)):
            assert time.monotonic() < end, f"the awaited moment did not come: {facts}"
            time.sleep(0.2)
        return facts

    def wait_for_end(self, job: str, timeout: float = 120) -> str:
        """The final state."""
        done = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "DEADLINE", "OUT_OF_MEMORY")
        return self.wait(job, lambda facts: facts["JobState"] in done, timeout)["JobState"]


@contextlib.contextmanager
def cluster(scratch: Path) -> Iterator[Cluster]:
    """A cluster of two nodes, idle; all of it is gone at the end."""
    daemons: list[subprocess.Popen[bytes]] = []
    with hosts.two_hosts(scratch) as network:
        made = Cluster(network, scratch)
        with socket.socket() as found:
            found.bind((network.outside, 0))
            port = found.getsockname()[1]
        text = CONFIGURATION.format(
            machine=os.uname().nodename.split(".")[0],
            controller=network.outside,
            port=port,
            scratch=scratch,
            h1=network.addresses[0],
            h2=network.addresses[1],
        )
        (scratch / "slurm.conf").write_text(text)
        for name in ("munge", "state", "spool.h1", "spool.h2"):
            (scratch / name).mkdir(mode=0o755)
        key = scratch / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        munge = {f"--{file}-file={scratch}/munge/{file}" for file in ("key", "pid", "log", "seed")}
        try:
            with (scratch / "daemons.log").open("ab") as log:
                for command in (
                    [*DIE_WITH_PYTEST, "munged", "--foreground", "--force", f"--socket={scratch}/munge/socket", *munge],
                    [*DIE_WITH_PYTEST, "slurmctld", "-D", "-c"],
                    *(network.on(host, ["slurmd", "-D", "-N", name]) for host, name in enumerate(hosts.NAMES)),
                ):
                    daemons.append(subprocess.Popen(command, env=made.environment, stdout=log, stderr=log, cwd=scratch))
                    if "munged" in command:
                        until(lambda: (scratch / "munge" / "socket").exists(), "munged did not start", scratch)
            until(lambda: nodes(made) == {"idle"}, "the nodes did not come up", scratch)
            yield made
        finally:
            family = [child for daemon in daemons for child in descendants(daemon.pid)]
            for daemon in reversed(daemons):
                daemon.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                for daemon in daemons:
                    daemon.wait(5)
            for process in (*daemons, *family):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            for daemon in daemons:
                daemon.wait()


def nodes(made: Cluster) -> set[str]:
    try:
        return set(made.call("sinfo", "--noheader", "--format=%T").split())
    except AssertionError:
        return set()


def descendants(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def until(condition: Callable[[], object], message: str, scratch: Path) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, f"{message}: {(scratch / 'daemons.log').read_text()[-2000:]}"
        time.sleep(0.1)
