"""What a test process runs: some steps of a tiny game on prepared shapes, then the state and the metrics to a file.

python game.py OUT STEPS DTYPE [KEY=VALUE ...]; under torchrun for several processes.
"""

import sys

import torch
from torch.nn.parallel import DistributedDataParallel

from distgan.config_file import load_config
from distgan.data.loader import Reals
from distgan.distributed import batch_rows, build_accelerator
from distgan.state import capture
from distgan.tracking import RunningMeans
from distgan.trainer import Trainer


def main(out: str, steps: str, dtype: str, *overrides: str) -> None:
    torch.set_default_dtype(getattr(torch, dtype))
    config = load_config("quickstart", overrides)
    accelerator, _ = build_accelerator(config)
    rows = batch_rows(
        config.train.batch_size, config.train.accumulation, accelerator.process_index, accelerator.num_processes
    )
    reals = Reals(config.data, config.run.seed, rows, accelerator.device, show=False)
    trainer = Trainer(config, accelerator, rows, reals.size, len(reals.classes))
    batches, means, levels = reals.batches(0), RunningMeans(), []
    for _ in range(int(steps)):
        metrics = trainer.step(batches)
        means.add(metrics)
        trainer.rebalance(metrics)
        levels.append(trainer.balance_level)
    state, logged, buckets = capture(trainer), means.reduce(), ""
    if isinstance(trainer.g.wrapped, DistributedDataParallel):
        buckets = trainer.g.wrapped._get_ddp_logging_data()["rebuilt_bucket_sizes"]  # bytes, with commas
    torch.save(
        {"tensors": state.tensors, "values": state.values, "metrics": logged, "levels": levels, "buckets": buckets},
        f"{out}.{accelerator.process_index}",
    )
    accelerator.end_training()


if __name__ == "__main__":
    main(*sys.argv[1:])
