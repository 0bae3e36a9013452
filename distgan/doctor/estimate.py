"""What the dry run's numbers mean: memory, network, time to the end, and whether the timeouts fit. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distgan.config.schema import Config
from distgan.doctor.disk import Need
from distgan.doctor.dry_run import Measured
from distgan.doctor.finding import Finding, fail, ok, shown_bytes, shown_seconds, warn

WAITING = 0.3  # share of a step
REDUCING = 0.5  # share of a step
FULL = 0.9  # of memory
PATIENCE = 10  # steps that train.timeout_minutes should last for


def steps(config: Config, all_ranks: Sequence[Measured]) -> list[Finding]:
    """Whether the steps went well, and what they waited for."""
    what, slowest = "dry run", max(all_ranks, key=lambda measured: measured.step)
    for measured in all_ranks:
        if measured.wrong:
            names = ", ".join(measured.wrong[:4])
            text = f"after {measured.steps + 2} steps not finite on rank {measured.rank}: {names}"
            return [fail(what, text, "lower the learning rates, use another train.precision, look at the images")]
    d, g = all_ranks[0].losses
    text = (
        f"{slowest.steps} steps on {slowest.images}: {shown_seconds(slowest.step)} a step (the first "
        f"{shown_seconds(slowest.first)}), losses D {d:.3f}, G {g:.3f}, all numbers finite"
    )
    found = [ok(what, text + (", all ranks hold the same weights" if len(all_ranks) > 1 else ""))]
    wait = max(measured.wait for measured in all_ranks)
    if wait > WAITING:
        text = f"{100 * wait:.0f} % of a step is spent waiting for images"
        found.append(warn("data wait", text, "use data.mode=resident, more data.workers, or a faster disk"))
    else:
        found.append(ok("data wait", f"{100 * wait:.0f} % of a step is spent waiting for images"))
    return found


def network(all_ranks: Sequence[Measured]) -> list[Finding]:
    """What it costs to sum D's gradients over all ranks."""
    slowest = max(all_ranks, key=lambda measured: measured.reduce)
    if len(all_ranks) == 1:
        return []
    text = (
        f"all-reduce of D's gradients ({shown_bytes(slowest.gradients)}) takes {shown_seconds(slowest.reduce)}, "
        f"{shown_bytes(slowest.gradients / max(slowest.reduce, 1e-9))}/s"
    )
    if slowest.reduce > REDUCING * slowest.step:
        advice = "look at NCCL_SOCKET_IFNAME or GLOO_SOCKET_IFNAME, or use a larger batch"
        return [warn("network", f"{text}, much of a step's {shown_seconds(slowest.step)}", advice)]
    return [ok("network", text)]


def memory(config: Config, all_ranks: Sequence[Measured], local: int, host: int) -> list[Finding]:
    """local: processes on this machine; host: bytes that were free on it before the dry run."""
    what, smaller = "memory", "use more train.accumulation, a smaller train.batch_size, or less data.resident_limit_mb"
    found = list[Finding]()
    most = max(all_ranks, key=lambda measured: measured.device)
    if most.device:
        text = f"{shown_bytes(most.device)} of the GPU at the peak, {shown_bytes(most.device_free)} were free"
        tight = most.device > FULL * most.device_free
        found.append(warn(what, text, smaller) if tight else ok(what, text))
    grown = max(measured.host for measured in all_ranks)
    text = f"{shown_bytes(grown)} of host memory per process, {local} here, {shown_bytes(host)} were free"
    if grown * local > FULL * host:
        return [*found, warn(what, text, f"{smaller}; or start fewer processes per machine")]
    return [*found, ok(what, text)]


def timeouts(config: Config, all_ranks: Sequence[Measured]) -> list[Finding]:
    """Whether train.timeout_minutes is longer than the others may have to wait for a process that is well."""
    what, limit = "timeouts", 60 * config.train.timeout_minutes
    if len(all_ranks) == 1:
        return [ok(what, "one process: nobody waits for another")]
    step, load = (max(getattr(measured, name) for measured in all_ranks) for name in ("step", "load"))
    longest, waits = max((PATIENCE * step, f"{PATIENCE} steps"), (2 * load, "twice the start"))
    if not isinstance(config.data.path, Path):
        pauses = sum(min(30.0, 0.5 * 2**number) * 1.5 for number in range(config.data.tries - 1))
        silent = config.data.tries * config.data.stall_seconds + pauses
        longest, waits = max((longest, waits), (silent, "all data.tries of a silent server"))
    text = f"train.timeout_minutes={config.train.timeout_minutes:g}, {waits} take(s) {shown_seconds(longest)}"
    if limit < longest:
        return [warn(what, text, f"set train.timeout_minutes={max(1, round(longest / 20))}")]
    return [ok(what, text)]


def end(config: Config, all_ranks: Sequence[Measured], done: int, need: Need) -> list[Finding]:
    """Time and disk to the end of the budget. done: steps before a resume."""
    step = max(measured.step for measured in all_ranks)
    left = max(config.total_steps - done, 0)
    written = left // config.checkpoint.every_steps + 1
    text = (
        f"{left:,} steps at {config.images_per_step / max(step, 1e-9):,.0f} images/s: {shown_seconds(left * step)} "
        f"to train.images={config.train.images:,} without samples and checkpoints; {written:,} checkpoint(s) written, "
        f"{shown_bytes(need.total - need.checkpoint)} on disk at the end"
    )
    if all_ranks[0].images not in ("resident", "stream"):
        text += f" (measured on {all_ranks[0].images})"
    return [ok("estimate", text)]
