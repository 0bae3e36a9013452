"""What a rank plays: some steps of a tiny game on prepared shapes, then the state and the metrics to a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.nn.parallel import DistributedDataParallel

from distgan.config.load import load_config
from distgan.config.schema import Config
from distgan.distributed.accelerator import build_accelerator, leave_group
from distgan.training.checkpoint.state import capture
from distgan.training.meters import RunningMeans
from distgan.training.own_loop import Trainer
from tests.support import warm

Ending = dict[str, Any]


def play(out: Path, processes: int, overrides: Sequence[str], steps: int, dtype: str = "float64") -> list[Ending]:
    """What each rank ended with: tensors, values, mean metrics, the balance's levels, the sizes of DDP's buckets."""
    code, output = warm.run(take_steps, out, steps, dtype, tuple(overrides), processes=processes)
    assert code == 0, output
    return [torch.load(f"{out}.{rank}", weights_only=True) for rank in range(processes)]


def take_steps(out: Path, steps: int, dtype: str, overrides: tuple[str, ...]) -> None:
    """One rank's; writes OUT.RANK."""
    torch.set_default_dtype(getattr(torch, dtype))
    config = load_config("quickstart", overrides)
    accelerator, _ = build_accelerator(config.train)
    torch.save(played(config, accelerator, steps), f"{out}.{accelerator.process_index}")
    leave_group(accelerator)


def played(config: Config, accelerator: Accelerator, steps: int) -> Ending:
    owner = Trainer.from_config(config, accelerator=accelerator)
    trainer, means, levels = owner.core, RunningMeans(), []
    for metrics in owner.steps(steps):
        means.add(metrics)
        levels.append(trainer.controllers.by_name["balance"].level)
    state, logged, buckets = capture(trainer), means.reduce(), ""
    if isinstance(trainer.g.wrapped, DistributedDataParallel):
        buckets = trainer.g.wrapped._get_ddp_logging_data()["rebuilt_bucket_sizes"]  # bytes, with commas
    return {"tensors": state.tensors, "values": state.values, "metrics": logged, "levels": levels, "buckets": buckets}
