"""Runs a program that never hears of a change of this machine's network: `python -m tests.support.deaf PROGRAM ...`.

Chromium drops the requests that wait for a connection, also to 127.0.0.1, as soon as any interface comes or goes
(ERR_NETWORK_CHANGED, https://issues.chromium.org/issues/41465264), and the tests of two hosts make and remove some
while pages load on another worker. It has no switch for that. Where it gets no netlink socket, it takes the network
as it is. So the kernel refuses it one (seccomp, which needs no rights); its children inherit that.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
import sys

SOCKET = {"x86_64": 41, "aarch64": 198}  # the number of the system call socket(2)
AF_NETLINK, EAFNOSUPPORT = 16, 97
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2


def refuse_netlink() -> None:
    """From now on socket(AF_NETLINK, ...) fails in this process and in its children. Linux on x86_64 and aarch64."""
    load, jump_unless, give = 0x20, 0x15, 0x06
    steps = [
        (load, 0, 0, 0),  # the number of the call
        (jump_unless, 0, 3, SOCKET[platform.machine()]),
        (load, 0, 0, 16),  # its first argument
        (jump_unless, 0, 1, AF_NETLINK),
        (give, 0, 0, 0x00050000 | EAFNOSUPPORT),  # SECCOMP_RET_ERRNO
        (give, 0, 0, 0x7FFF0000),  # SECCOMP_RET_ALLOW
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    rules = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, rules)):
        if prctl(*arguments):
            raise OSError(ctypes.get_errno(), "no filter of system calls")


if __name__ == "__main__":
    if platform.system() == "Linux" and platform.machine() in SOCKET:
        with contextlib.suppress(OSError):  # a container that forbids filters: then it hears
            refuse_netlink()
    os.execv(sys.argv[1], sys.argv[1:])
