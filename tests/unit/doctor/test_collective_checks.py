"""What planted processes say about one another. Real ones: tests/integration."""

from __future__ import annotations

from distgan.doctor import collective_checks
from tests.unit.doctor.results import lines


def member(rank, host="a", gpu="", clock=0.0, torch="2.13"):
    return collective_checks.Member(rank, host, "cpu", gpu, (f"torch {torch}",), clock)


def test_members_are_named_with_their_machines_and_compared():
    assert lines(collective_checks.check_members([member(0), member(1, clock=0.5)])) == [
        "ok    processes: 2 on 1 machine(s) are connected; a: rank 0-1 (cpu)",
        "ok    clocks: they differ by 500.0 ms at most",
    ]
    wrong = [member(0, gpu="u"), member(1, gpu="u"), member(2, host="b", clock=-9.0, torch="2.6")]
    assert lines(collective_checks.check_members(wrong)) == [
        "ok    processes: 3 on 2 machine(s) are connected; a: rank 0-1 (cpu), b: rank 2 (cpu)",
        "warn  processes: 1 on some machines, 2 on others; start as many on each: the slowest sets the pace",
        "FAIL  processes: ranks 0, 1 use the same GPU; check CUDA_VISIBLE_DEVICES and LOCAL_RANK",
        "warn  same versions: rank 2 (b) has torch 2.6; rank 0 has torch 2.13; install the same versions on every "
        "machine",
        "warn  clocks: that of rank 2 (b) differs by -9.0 s from rank 0's; synchronise them by NTP: the times in "
        "logs and W&B would not match",
    ]
