"""Costs beside the step itself of consistency check, watchdog, metrics, agreement on stopping and checkpoint.

torchrun --standalone --nproc_per_node 2 -m benchmarks.scaling.overhead [RECIPE] [KEY=VALUE ...]

Data: the embedded shapes.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from accelerate import Accelerator

from distgan.config.load import load_config
from distgan.config.schema import Config
from distgan.data.prepare import Request, prepare
from distgan.data.sources.shapes import Shapes
from distgan.distributed.accelerator import build_accelerator, leave_group
from distgan.distributed.heartbeat import Heartbeat
from distgan.distributed.stop import StopSignal
from distgan.training.checkpoint.state import capture
from distgan.training.consistency import ConsistencyCheck
from distgan.training.meters import RunningMeans, spread_of_ranks
from distgan.training.own_loop import Trainer

ROUNDS = 7


class Cost(NamedTuple):
    """Something that is done beside the step."""

    name: str
    times: list[float]
    """ms."""
    every: int
    """Steps; 0: never."""


def milliseconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - begin)


def main(recipe: str = "quickstart", *overrides: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        prepare(Request(Path(scratch) / "shapes", Shapes(300)), progress=False)
        own = [f"data.path={scratch}/shapes", "data.prepare=null", "data.classes=null"]
        config = load_config(recipe, [*own, *overrides])
        accelerator, _ = build_accelerator(config.train)
        costs = measure(config, accelerator)
        if accelerator.is_main_process:
            place = f"{accelerator.num_processes} process(es) on {accelerator.device.type}"
            print(f"{recipe}: {place}, batch {config.train.batch_size}, {ROUNDS} rounds")
            print(table(costs))
        leave_group(accelerator)  # the trainer is gone: its networks are freed before the group is left


def measure(config: Config, accelerator: Accelerator) -> list[Cost]:
    """Costs of one rank, all measured in turns."""
    owner = Trainer.from_config(config, accelerator=accelerator)
    trainer, reals = owner.core, owner.reals
    check, batches, means = ConsistencyCheck(accelerator, images=False), reals.batches(0), RunningMeans()
    stop, norms, device = StopSignal(5), trainer.weight_norms, accelerator.device
    for _ in range(3):
        means.add(trainer.step(batches))
    calls: dict[str, tuple[Callable[[], object], int]] = {
        "step": (lambda: means.add(trainer.step(batches)), 1),
        "agreement on stopping": (stop.agreed, 1),
        "consistency check": (lambda: check.check(trainer), config.guard.every_steps or 0),
        "metrics and watchdog": (
            lambda: (means.reduce(), [norm.item() for norm in norms().values()], spread_of_ranks(0.0, 0.0, device)),
            config.log.every_steps,
        ),
        "state to host": (lambda: capture(trainer), config.checkpoint.every_steps),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    with Heartbeat(accelerator, 60):
        for _ in range(ROUNDS):
            for name, (call, _every) in calls.items():
                accelerator.wait_for_everyone()
                times[name].append(milliseconds(call))
    accelerator.wait_for_everyone()
    return [Cost(name, times[name], every) for name, (_call, every) in calls.items()]


def table(costs: list[Cost]) -> str:
    """The first cost is the step, of which the others are a share."""
    lines = ["| what | median, ms | spread, ms | every, steps | share of training |", "| --- | --- | --- | --- | --- |"]
    step = statistics.median(costs[0].times)
    for name, times, every in costs:
        middle = statistics.median(times)
        share = f"{middle / every / step:.3%}" if every else "off"
        lines.append(f"| {name} | {middle:.2f} | {min(times):.2f} to {max(times):.2f} | {every} | {share} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main(*sys.argv[1:])
