"""Two "hosts" on this machine: network namespaces with an address and a name each, joined by a bridge.

    with two_hosts() as hosts:
        first = hosts.start(0, ["torchrun", ...], log)   # subprocess.Popen, from the repository root
        hosts.cut(1)                                     # packets vanish, both ways; nobody is told
        hosts.heal(1)

Needs root and iproute2: `missing()` says what is lacking. Names and addresses are this process's own, so that several
may run side by side, and what a killed test has left behind is removed by the next one.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from tests.support.processes import ROOT, environment

PREFIX = "dg"  # dgPIDnCOUNT-h1: an interface's name has 15 characters at most
COUNTER = itertools.count()
NAMES = ("h1", "h2")  # what the hosts call themselves and each other
# nsenter, not `ip netns exec`: that one mounts another /sys, in which slurmd finds no cgroups
ENTER = 'hostname "$1"; mount --bind "$2" /etc/hosts; shift 2; exec "$@"'


def missing() -> str:
    """Why hosts cannot be had here, or nothing."""
    if os.geteuid():
        return "needs root, for network namespaces"
    if lacking := [tool for tool in ("ip", "nsenter", "unshare", "hostname", "mount") if not shutil.which(tool)]:
        return f"needs the command {lacking[0]}"
    done = subprocess.run(["unshare", "--net", "--uts", "--mount", "true"], capture_output=True, text=True)
    return f"no namespaces: {done.stderr.strip()}" if done.returncode else ""


class Hosts:
    """Two hosts, numbered 0 and 1. Made by `two_hosts`."""

    def __init__(self, tag: str, scratch: Path, rate: str | None) -> None:
        self.tag = tag
        self.bridge = tag
        net = free_subnet()
        self.outside = f"{net}.254"
        """The address of the machine itself, where pytest runs."""
        self.addresses = (f"{net}.1", f"{net}.2")
        self.interface = "eth0"
        """The hosts' interface, for GLOO_SOCKET_IFNAME."""
        self.etc_hosts = scratch / "etc_hosts"
        names = [f"{address} {name}" for address, name in zip(self.addresses, NAMES, strict=True)]
        lines = ["127.0.0.1 localhost", f"{self.outside} {os.uname().nodename}", *names]
        self.etc_hosts.write_text("".join(f"{line}\n" for line in lines))
        ip(f"link add {self.bridge} type bridge")
        ip(f"address add {self.outside}/24 dev {self.bridge}")
        ip(f"link set {self.bridge} up")
        for host, address in enumerate(self.addresses):
            space = self.namespace(host)
            ip(f"netns add {space}")
            ip(f"link add {self.plug(host)} type veth peer name {self.interface} netns {space}")
            ip(f"link set {self.plug(host)} master {self.bridge} up")
            ip(f"-n {space} link set lo up")
            ip(f"-n {space} link set {self.interface} up")
            ip(f"-n {space} address add {address}/24 dev {self.interface}")
            if rate:
                command = f"tc -n {space} qdisc add dev {self.interface} root tbf rate {rate} burst 64kb latency 100ms"
                subprocess.run(command.split(), check=True)

    def namespace(self, host: int) -> str:
        return f"{self.tag}-{NAMES[host]}"

    def plug(self, host: int) -> str:
        """The host's end of the cable, in the bridge."""
        return f"{self.tag}-{NAMES[host]}"

    def on(self, host: int, command: Sequence[str]) -> list[str]:
        """The command that runs `command` on the host: with its network, its name and its /etc/hosts."""
        inside = ["unshare", "--mount", "--uts", "sh", "-ec", ENTER, "sh", NAMES[host], str(self.etc_hosts)]
        return ["nsenter", f"--net=/run/netns/{self.namespace(host)}", *inside, *command]

    def start(self, host: int, command: Sequence[str], log: Path, **env: str) -> subprocess.Popen[bytes]:
        """Starts it on the host, from the repository root, in a process group of its own, output to `log`.

        The process returned is the command itself (nothing stands between), gloo uses the hosts' network.
        """
        env = {"GLOO_SOCKET_IFNAME": self.interface, **env}
        with log.open("ab") as file:
            return subprocess.Popen(
                self.on(host, command),
                cwd=ROOT,
                env=environment(**env),
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def cut(self, host: int) -> None:
        """Pulls the host's cable at the switch: packets vanish both ways, its interface stays up, no error is sent."""
        ip(f"link set {self.plug(host)} nomaster")

    def heal(self, host: int) -> None:
        ip(f"link set {self.plug(host)} master {self.bridge}")

    def processes(self, host: int) -> list[psutil.Process]:
        """All that runs on the host, daemons too."""
        return processes_in(self.namespace(host))


@contextlib.contextmanager
def two_hosts(scratch: Path, rate: str | None = None) -> Iterator[Hosts]:
    """Two hosts; at the end all their processes are killed and their network removed.

    scratch: a directory for a file. rate: the most that each host may send, as in "50mbit".
    """
    for tag in {space.rsplit("-", 1)[0] for space in namespaces()}:  # left behind by tests that were killed
        if not psutil.pid_exists(int(tag.removeprefix(PREFIX).split("n")[0])):
            remove(tag)
    tag = f"{PREFIX}{os.getpid()}n{next(COUNTER)}"
    try:
        yield Hosts(tag, scratch, rate)
    finally:
        remove(tag)


def remove(tag: str) -> None:
    """Kills all that runs on the hosts of this tag and removes their network."""
    for space in namespaces():
        if space.startswith(f"{tag}-"):
            end = time.monotonic() + 10
            while (alive := processes_in(space)) and time.monotonic() < end:
                for process in alive:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
                time.sleep(0.02)  # psutil.wait_procs would take the exit codes away from Popen
            ip(f"link delete {space}", check=False)  # the cable has its host's name
            ip(f"netns delete {space}")
    ip(f"link delete {tag}", check=False)


def namespaces() -> list[str]:
    return re.findall(rf"^{PREFIX}\d+n\d+-h\d", ip("netns list"), re.MULTILINE)


def processes_in(space: str) -> list[psutil.Process]:
    found = []
    for pid in ip(f"netns pids {space}", check=False).split():
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(int(pid))
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def free_subnet() -> str:
    """The first three numbers of a private /24 that no interface of this machine has."""
    used = ip("-4 -o address")
    while True:
        net = f"10.{random.randrange(64, 224)}.{random.randrange(256)}"
        if f" {net}." not in used:
            return net


def ip(arguments: str, check: bool = True) -> str:
    done = subprocess.run(["ip", *arguments.split()], capture_output=True, text=True)
    assert not check or done.returncode == 0, f"ip {arguments}: {done.stderr.strip()}"
    return done.stdout
