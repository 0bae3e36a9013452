"""Results from the numbers of the dry run: memory, network, time until the end, timeouts. Pure functions.

`all_ranks` are the measurements of every rank, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distgan.config.schema import Config
from distgan.doctor.check_result import CheckResult, fail, format_bytes, format_seconds, ok, warn
from distgan.doctor.disk import Need
from distgan.doctor.dry_run import WARM_UP, Measurements

MAX_WAIT = 0.3  # share of a step
MAX_REDUCE = 0.5  # share of a step
MAX_MEMORY = 0.9  # share of the memory that was free
TIMEOUT_STEPS = 10  # that train.timeout_minutes should last for


def check_steps(all_ranks: Sequence[Measurements]) -> list[CheckResult]:
    """Whether all numbers are finite, and how long a step waited for images."""
    what, slowest = "dry run", max(all_ranks, key=lambda measured: measured.step)
    for measured in all_ranks:
        if measured.not_finite:
            names = ", ".join(measured.not_finite[:4])
            text = f"not finite after {measured.steps + WARM_UP} steps on rank {measured.rank}: {names}"
            return [fail(what, text, "lower the learning rates, use another train.precision, or check the images")]
    d, g = all_ranks[0].losses
    text = (
        f"{slowest.steps} steps on {slowest.images}: {format_seconds(slowest.step)} a step (the first "
        f"{format_seconds(slowest.first)}), losses D {d:.3f}, G {g:.3f}, all numbers finite"
    )
    same = ", all ranks hold the same weights" if len(all_ranks) > 1 else ""
    return [ok(what, text + same), _check_wait(max(measured.wait for measured in all_ranks))]


def _check_wait(share: float) -> CheckResult:
    """share: of a step."""
    text = f"{100 * share:.0f} % of a step is spent waiting for images"
    if share > MAX_WAIT:
        return warn("data wait", text, "use data.mode=resident, more data.workers, or a faster disk")
    return ok("data wait", text)


def check_network(all_ranks: Sequence[Measurements]) -> list[CheckResult]:
    """Whether the sum of D's gradients over all ranks takes a large part of a step; nothing for one process."""
    slowest = max(all_ranks, key=lambda measured: measured.reduce)
    if len(all_ranks) == 1:
        return []
    text = (
        f"all-reduce of D's gradients ({format_bytes(slowest.gradients)}) takes {format_seconds(slowest.reduce)}, "
        f"{format_bytes(slowest.gradients / max(slowest.reduce, 1e-9))}/s"
    )
    if slowest.reduce > MAX_REDUCE * slowest.step:
        advice = "check NCCL_SOCKET_IFNAME or GLOO_SOCKET_IFNAME, or use a larger batch"
        return [warn("network", f"{text}; a complete step takes {format_seconds(slowest.step)}", advice)]
    return [ok("network", text)]


def check_memory(all_ranks: Sequence[Measurements], local: int, host: int) -> list[CheckResult]:
    """local: processes on this machine; host: bytes that were free on it before the dry run."""
    what = "memory"
    advice = "use more train.accumulation, a smaller train.batch_size, or less data.resident_limit_mb"
    results = list[CheckResult]()
    largest = max(all_ranks, key=lambda measured: measured.device)
    if largest.device:
        text = f"{format_bytes(largest.device)} of the GPU at the peak, {format_bytes(largest.device_free)} were free"
        full = largest.device > MAX_MEMORY * largest.device_free
        results.append(warn(what, text, advice) if full else ok(what, text))
    grown = max(measured.host for measured in all_ranks)
    text = (
        f"{format_bytes(grown)} of host memory per process, {local} process(es) on this machine, {format_bytes(host)} "
        "were free"
    )
    if grown * local > MAX_MEMORY * host:
        return [*results, warn(what, text, f"{advice}; or start fewer processes per machine")]
    return [*results, ok(what, text)]


def check_timeouts(config: Config, all_ranks: Sequence[Measurements]) -> list[CheckResult]:
    """Whether train.timeout_minutes is longer than processes may have to wait for one that is only slow."""
    what, limit = "timeouts", 60 * config.train.timeout_minutes
    if len(all_ranks) == 1:
        return [ok(what, "one process: it waits for no other")]
    step, load = (max(getattr(measured, name) for measured in all_ranks) for name in ("step", "load"))
    longest, cause = max((TIMEOUT_STEPS * step, f"{TIMEOUT_STEPS} steps"), (2 * load, "twice the start-up"))
    if not isinstance(config.data.path, Path):
        pauses = sum(min(30.0, 0.5 * 2**number) * 1.5 for number in range(config.data.tries - 1))
        silent = config.data.tries * config.data.stall_seconds + pauses
        longest, cause = max((longest, cause), (silent, "all data.tries of a silent server"))
    text = f"train.timeout_minutes={config.train.timeout_minutes:g}; time for {cause}: {format_seconds(longest)}"
    if limit < longest:
        return [warn(what, text, f"set train.timeout_minutes={max(1, round(longest / 20))}")]
    return [ok(what, text)]


def estimate_end(config: Config, all_ranks: Sequence[Measurements], done: int, need: Need) -> list[CheckResult]:
    """Time and disk space until the end of the budget. done: steps before a resume."""
    step = max(measured.step for measured in all_ranks)
    left = max(config.total_steps - done, 0)
    written = left // config.checkpoint.every_steps + 1
    text = (
        f"{left:,} steps at {config.images_per_step / max(step, 1e-9):,.0f} images/s: {format_seconds(left * step)} "
        f"to train.images={config.train.images:,} without samples and checkpoints; {written:,} checkpoint(s) written, "
        f"{format_bytes(need.total - need.checkpoint)} on disk at the end"
    )
    if all_ranks[0].images not in ("resident", "stream"):
        text += f" (measured on {all_ranks[0].images})"
    return [ok("estimate", text)]
