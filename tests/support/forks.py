"""Processes in milliseconds, forked from a server that has imported torch, accelerate and distgan, and done nothing.

    process = forks.context().Process(target=function, args=...)     # multiprocessing's own Process, Queue, Pipe

pytest itself cannot be forked: it has threads, whose locks a child would inherit. All tests of a pytest process share
the server; it ends with pytest.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

import pytest

IMPORTED = (
    "pytest",  # a child imports the main module again, which is pytest's script
    "torch._dynamo",  # torch's optimisers import it
    "torch.distributed.fsdp",  # accelerate does, when it wraps a network
    "matplotlib.backends.backend_agg",
    "efficientnet_lite_pytorch",
    "wandb",
    "webdataset",
    "distgan.train",
    "distgan.training.run",
    "distgan.cli.report",
    "distgan.metrics.evaluator",
    "distgan.doctor.runner",
    "tests.fuzz.targets",
)
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # a process of several cannot be forked safely
QUIET = {"TORCH_CPP_LOG_LEVEL": "ERROR"}  # as in distgan/train.py: it must be there before torch is


@functools.cache
def context() -> ForkServerContext:
    """Starts the server. A child begins with the server's environment: pytest's, with one thread."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(list(IMPORTED))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (ONE_THREAD | QUIET).items():
            patch.setenv(name, value)
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))  # Python 3.11 hands over none
        forkserver.ensure_running()
    return made
