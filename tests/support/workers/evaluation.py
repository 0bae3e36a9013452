"""What one process of an evaluation does."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from distgan.config.schema import DataConfig, EvaluateConfig
from distgan.distributed.collectives import on_main
from distgan.inference.generator import load_generator
from distgan.metrics.evaluate import process_device
from distgan.metrics.evaluator import Evaluator
from distgan.metrics.protocol import save_scores
from distgan.utils.errors import QualityError


def evaluate(generator: Path, data: Path, out: Path, count: int) -> None:
    """Writes its scores to OUT.RANK; joined with the others where there are any."""
    torch.set_num_threads(1)
    with process_device("cpu") as device:
        rank = dist.get_rank() if dist.is_initialized() else 0
        config = EvaluateConfig(count=count, reference_count=100)
        evaluator = Evaluator(config, DataConfig(path=data), device, show=False)
        scores = evaluator.evaluate(load_generator(generator, device))
        assert evaluator.evaluate(load_generator(generator, device)) == scores, "and the same again"
    save_scores(Path(f"{out}.{rank}"), scores)


def call_the_command(arguments: list[str]) -> None:
    """`distgan evaluate ARGUMENTS`."""
    import argparse

    from distgan.cli import evaluate

    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    evaluate.run(parser.parse_args(arguments))


def fail_on_main() -> None:
    """The main process's error is printed by every rank."""
    dist.init_process_group("gloo")

    def fail() -> None:
        raise QualityError("no")

    try:
        on_main(fail)
    except QualityError as error:
        sys.stdout.write(f"told {error}\n")  # at once: the other process writes too
        sys.stdout.flush()
    dist.barrier()
    dist.destroy_process_group()  # one that leaves early may take the other's connections away
