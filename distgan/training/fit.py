"""A training as one call: `distgan.fit(config)`.

In: a configuration, or a recipe's name. Out: the generator, its scores, and why training ended. The process is left as
it was found, so that it can train again, with another precision or seed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from distgan.config.load import load_config
from distgan.config.schema import Config
from distgan.distributed.signals import Signals
from distgan.inference.generator import Generator, load_generator
from distgan.inference.sampling import LAST
from distgan.metrics.protocol import Scores
from distgan.training.callbacks import Callback, check_callbacks
from distgan.training.run import run


@dataclass(frozen=True)
class RunResult:
    """What a training has made."""

    run_dir: Path
    """The run's directory: metrics, samples, checkpoints, generator files, report.html."""
    generator: Generator | None
    """The averaged generator of the last step, as `load_generator(run_dir / "generator.safetensors")` gives it, on the
    CPU; None on other processes than the main one."""
    scores: Scores | None
    """Of the last evaluation; None where nothing is evaluated (evaluate.every_images)."""
    reason: str
    """budget: train.images are seen; patience: best.patience is used up; time_limit: train.seconds are; callback: one
    asked for it."""


def fit(
    config: Config | str | Path,
    callbacks: Sequence[Callback] = (),
    resume: str | Path = "auto",
    *,
    signals: Signals | None = None,
) -> RunResult:
    """Trains to the budget, or goes on to it, and exports.

    config: a Config, the name of a recipe, or the path of a YAML file. callbacks: see `Callback`. resume: auto: go on
    from the run's newest checkpoint, if there is one; never: start anew; or a checkpoint's directory. signals: of a
    command that already listens to them; None: SIGINT (the stop button of a notebook), SIGTERM and SIGHUP are received
    while training goes on, in the main thread only.

    Several processes: start them with a launcher or `accelerate.notebook_launcher`; each calls `fit`. Messages go to
    Python's `logging`, logger "distgan".

    Raises Stopped after a signal: everything is saved by then, and the same call goes on from there. Raises other
    DistganErrors for a mistake in the configuration, where training went wrong (LostProcess, Disagreement, Halted), and
    CallbackError where a callback raised an exception.

    >>> import distgan
    >>> distgan.prepare("shapes", out="data/shapes", count=200, progress=False).count
    200
    >>> config = distgan.load_config("quickstart", {"train.images": 32, "wandb.mode": "disabled"})
    >>> result = distgan.fit(config)
    >>> result.reason, result.generator
    ('budget', Generator(32x32, 10 classes, 32 images seen, ema, cpu))
    >>> result.generator.sample(seeds=range(4)).shape
    torch.Size([4, 3, 32, 32])
    """
    config = config if isinstance(config, Config) else load_config(config)
    callbacks = check_callbacks(callbacks)
    with ExitStack() as stack:
        if signals is None:
            signals = stack.enter_context(Signals(from_start=os.environ.get("WORLD_SIZE", "1") not in ("", "1")))
        ended = run(config, str(resume), signals, callbacks)
    generator = load_generator(config.run_dir / LAST) if ended.is_main else None
    return RunResult(config.run_dir, generator, ended.scores, ended.reason)
