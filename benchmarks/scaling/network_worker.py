"""Started by network.py on each host: steps with and without averaging, in turn, and the bytes they send.

python -m benchmarks.scaling.network_worker OUT ROUNDS STEPS AGAINST RECIPE [KEY=VALUE ...]

Rank 0 writes the figures to OUT, as JSON.
AGAINST: one more KEY=VALUE, of a second training that takes turns with the first; empty: none.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import torch
import torch.distributed as dist
from accelerate import Accelerator

from distgan.config.load import load_config
from distgan.config.schema import Config
from distgan.data.dataset import Batch
from distgan.distributed.accelerator import leave_group
from distgan.distributed.stop import StopSignal
from distgan.training import own_loop
from distgan.training.trainer import Trainer

WARM_UP = 4  # steps; DDP lays its buckets anew after the first


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Per call, on the slower of the two ranks."""
    dist.barrier()
    begin = time.perf_counter()
    for _ in range(repeats):
        call()
    taken = torch.tensor((time.perf_counter() - begin) / repeats)
    dist.all_reduce(taken, dist.ReduceOp.MAX)
    return taken.item()


def sent() -> int:
    """Bytes that have left this host, headers included."""
    return psutil.net_io_counters(pernic=True)[os.environ["GLOO_SOCKET_IFNAME"]].bytes_sent


def build(config: Config) -> tuple[Trainer, Iterator[Batch]]:
    owner = own_loop.Trainer.from_config(config)  # with an Accelerator of its own, which has the settings of DDP
    return owner.core, owner.reals.batches(0)


def stepping(trainer: Trainer, batches: Iterator[Batch], stop: StopSignal) -> Callable[[], None]:
    """One step as the loop does it, with the agreement to go on."""

    def step() -> None:
        trainer.step(batches)
        stop.agreed()

    return step


def main(*arguments: str) -> None:
    leave_group(measure(*arguments))  # the trainers are gone: their networks are freed before the group is left


def measure(out: str, rounds: str, steps: str, against: str, recipe: str, *overrides: str) -> Accelerator:
    """Writes the figures on rank 0."""
    trainer, batches = build(load_config(recipe, overrides))
    stop = StopSignal(5)
    weights = sum(weight.numel() for player in (trainer.g, trainer.d) for weight in player.network.parameters())
    one, all_weights = torch.ones(1), torch.ones(weights)

    step = stepping(trainer, batches, stop)
    other = stepping(*build(load_config(recipe, [*overrides, against])), stop) if against else None
    for _ in range(WARM_UP):
        step()
        if other:
            other()
    latencies = [seconds(lambda: dist.all_reduce(one), 10) for _ in range(int(rounds))]
    transfers = [seconds(lambda: dist.all_reduce(all_weights), 1) for _ in range(int(rounds))]
    together, alone, ratios, traffic = [], [], [], 0
    for number in range(int(rounds)):
        first = seconds(other, int(steps)) if other and number % 2 else 0.0
        before = sent()
        together.append(seconds(step, int(steps)))
        traffic += sent() - before
        if other:
            ratios.append(together[-1] / (first or seconds(other, int(steps))))
        with ExitStack() as stack:
            for player in (trainer.g, trainer.d):
                stack.enter_context(player.wrapped.no_sync())
            alone.append(seconds(step, int(steps)))
    if trainer.accelerator.is_main_process:
        figures = {
            "latency": statistics.median(latencies),
            "bandwidth": 4 * weights / statistics.median(transfers),  # of two ranks each sends what it has, once
            "together": statistics.median(together),
            "alone": statistics.median(alone),
            "bytes": traffic / int(rounds) / int(steps),
            "ratio": statistics.median(ratios) if ratios else None,
        }
        Path(out).write_text(json.dumps(figures))
    stop.wait_for_all()
    return trainer.accelerator


if __name__ == "__main__":
    main(*sys.argv[1:])
