"""What guard, watchdog, metrics, agreed stop and checkpoint cost beside the step itself: rounds in turn, in one run.

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

from distgan.config.load import load_config
from distgan.data.dataset import ImageDataset
from distgan.data.prepare import Request, Shapes, prepare
from distgan.distributed.accelerator import batch_rows, build_accelerator
from distgan.distributed.heartbeat import Heartbeat
from distgan.distributed.stop import StopSignal
from distgan.training.checkpoint.state import capture
from distgan.training.consistency import ConsistencyCheck
from distgan.training.meters import RunningMeans
from distgan.training.trainer import Trainer

ROUNDS = 7


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
        world = accelerator.num_processes
        rows = batch_rows(config.train.batch_size, config.train.accumulation, accelerator.process_index, world)
        reals = ImageDataset(config.data, config.run.seed, rows, accelerator.device, show=False)
        trainer = Trainer(config, accelerator, rows, reals.size, len(reals.classes))
        guard, batches, means = ConsistencyCheck(accelerator, images=False), reals.batches(0), RunningMeans()
        stop = StopSignal(5)
        for _ in range(3):
            means.add(trainer.step(batches))
        norms = trainer.weight_norms
        costs: dict[str, tuple[Callable[[], object], int]] = {
            "step": (lambda: means.add(trainer.step(batches)), 1),
            "agreed stop": (stop.agreed, 1),
            "guard": (lambda: guard.check(trainer), config.guard.every_steps or 0),
            "metrics and watchdog": (
                lambda: (means.reduce(), [norm.item() for norm in norms().values()]),
                config.log.every_steps,
            ),
            "state to host": (lambda: capture(trainer), config.checkpoint.every_steps),
        }
        times: dict[str, list[float]] = {name: [] for name in costs}
        with Heartbeat(accelerator, 60):
            for _ in range(ROUNDS):
                for name, (call, _every) in costs.items():
                    accelerator.wait_for_everyone()
                    times[name].append(milliseconds(call))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            place = f"{world} process(es) on {accelerator.device.type}"
            print(f"{recipe}: {place}, batch {config.train.batch_size}, {ROUNDS} rounds")
            print(
                "| what | median, ms | spread, ms | every, steps | share of training |\n| --- | --- | --- | --- | --- |"
            )
            step = statistics.median(times["step"])
            for name, (_call, every) in costs.items():
                middle = statistics.median(times[name])
                share = f"{middle / every / step:.3%}" if every else "off"
                print(
                    f"| {name} | {middle:.2f} | {min(times[name]):.2f} to {max(times[name]):.2f} | {every} | {share} |"
                )
        accelerator.end_training()


if __name__ == "__main__":
    main(*sys.argv[1:])
