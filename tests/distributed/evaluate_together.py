"""One process of an evaluation: GENERATOR DATA OUT COUNT; writes OUT.RANK. Under torchrun the processes are joined."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from distgan.config import DataConfig, EvaluateConfig
from distgan.evaluate_command import together
from distgan.generator import load_generator
from distgan.metrics.evaluator import Evaluator
from distgan.metrics.protocol import save_scores

torch.set_num_threads(1)
generator, data, out, count = sys.argv[1:]
with together("cpu") as device:
    rank = dist.get_rank() if dist.is_initialized() else 0
    config = EvaluateConfig(count=int(count), reference_count=100)
    evaluator = Evaluator(config, DataConfig(path=Path(data)), device, show=False)
    scores = evaluator.evaluate(load_generator(generator, device))
    assert evaluator.evaluate(load_generator(generator, device)) == scores, "and the same again"
save_scores(Path(f"{out}.{rank}"), scores)
