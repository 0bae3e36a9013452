"""What a rank does with `distgan.fit`: callbacks that stop, fail, sleep, draw, and evaluate."""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

import distgan
from distgan.distributed.collectives import gather_objects, in_group
from distgan.training.checkpoint import storage

Told = dict[str, Any]


class Main(distgan.Callback):
    """Only the main process calls it."""

    def __init__(self) -> None:
        self.ranks: list[int] = []

    def on_step(self, state: Any) -> None:
        self.ranks.append(state.rank)
        self.act(state)

    def act(self, state: Any) -> None:
        pass


class Fails(Main):
    def act(self, state: Any) -> None:
        if state.step == 4:
            raise ValueError("no such thing")


class FailsOnRank1(Fails):
    everywhere = True

    def act(self, state: Any) -> None:
        if state.rank == 1:
            super().act(state)


class Exits(Main):
    def act(self, state: Any) -> None:
        raise SystemExit(5)


class FailsAtTheEnd(Main):
    def on_end(self, state: Any) -> None:
        raise ValueError("too late")


class Terminates(Main):
    def act(self, state: Any) -> None:
        if state.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)


class Stops(Main):
    def act(self, state: Any) -> None:
        if state.step == 6:
            state.stop()


class Sleeps(Main):
    def act(self, state: Any) -> None:
        time.sleep(float(os.environ.get("SLEEP", "1.5")) if state.step == 3 else 0)


class Draws(Main):
    """Uses up random numbers of every library, on one rank more than on the other."""

    everywhere = True

    def act(self, state: Any) -> None:
        for _ in range(1 + 2 * state.rank):
            torch.manual_seed(state.step)
            torch.randn(3), np.random.rand(3), random.random()


class Talks(Main):
    """A collective in a callback of all ranks."""

    everywhere = True

    def act(self, state: Any) -> None:
        assert gather_objects(state.step) == [state.step] * state.processes


class Sums(distgan.Callback):
    """A collective of all ranks in every event; on rank 1 it fails at step 3."""

    everywhere = True

    def __init__(self) -> None:
        self.ranks: list[int] = []
        self.calls: list[tuple[str, int]] = []

    def sum_up(self, event: str, state: Any) -> None:
        number = torch.tensor([1000.0 * state.step + len(event)])
        torch.distributed.all_reduce(number)
        assert number.item() == state.processes * (1000 * state.step + len(event))
        self.ranks.append(state.rank)
        self.calls.append((event, state.step))
        if (event, state.step, state.rank) == ("on_step", 3, 1):
            raise ValueError("no such sum")


for _event in ("on_step", "on_log", "on_images", "on_evaluation", "on_end"):
    setattr(Sums, _event, lambda self, state, event=_event: self.sum_up(event, state))


class Evaluates(Main):
    """Work for all processes, done by one of them."""

    def on_log(self, state: Any) -> None:
        scores = distgan.evaluate(state.generator(), extractor="none", count=20, progress=False)
        assert scores.images_seen == state.images_seen


def fit_once(out: Path, kind: str, overrides: tuple[str, ...]) -> int:
    """Writes OUT.RANK: what `fit` gave or raised."""
    rank = _rank()
    callbacks = [globals()[each]() for each in kind.split("-") if each]
    if rank != "0" and os.environ.get("ONLY_ON_MAIN"):
        callbacks = []
    told: Told = {}
    code = 0
    start = time.monotonic()
    try:
        result = distgan.fit(distgan.load_config("quickstart", overrides), callbacks)
        generator = result.generator
        told = {"reason": result.reason, "images": generator and generator.images_seen, "code": 0}
        told["digest"] = generator and generator.weight_digest
    except distgan.DistganError as error:
        told = {"error": f"{type(error).__name__}: {error}"}
        code = error.exit_code
    told |= {"ranks": sorted({rank for each in callbacks for rank in each.ranks}), "seconds": time.monotonic() - start}
    told["calls"] = [call for each in callbacks for call in getattr(each, "calls", [])]
    Path(f"{out}.{rank}").write_text(json.dumps(told))
    return code


def fit_twice(out: Path, overrides: tuple[str, ...]) -> None:
    """Two trainings in the same processes, of two precisions, then an evaluation by all of them."""
    told = []
    for precision in ("bf16", "no"):
        changes = (*overrides, f"train.precision={precision}", f"run.name={precision}")
        result = distgan.fit(distgan.load_config("quickstart", changes))
        state = storage.load(storage.newest(result.run_dir / "checkpoints", print))  # type: ignore[arg-type]
        told.append([result.reason, state.values["precision"], state.values["processes"]])
    scores = distgan.evaluate(result.run_dir, extractor="none", count=20, progress=False)
    told.append([scores.images_seen])
    Path(f"{out}.{_rank()}").write_text(json.dumps(told))


def fit_after_an_error(out: Path, kind: str, overrides: tuple[str, ...]) -> None:
    """A training that a callback ends, then the rest of it: after each, what is left of the group and of DDP."""
    config, told = distgan.load_config("quickstart", overrides), []
    errors = []  # the caller may keep it
    try:
        distgan.fit(config, [globals()[kind]()])
    except distgan.DistganError as error:
        errors.append(error)
    told += [type(errors[0]).__name__, in_group(), _wrapped()]
    told += [distgan.fit(config).reason, in_group(), _wrapped()]
    Path(f"{out}.{_rank()}").write_text(json.dumps(told))


def _wrapped() -> int:
    """Networks in DDP that live."""
    return sum(type(each) is DistributedDataParallel for each in gc.get_objects())


def own_loop(out: Path, overrides: tuple[str, ...]) -> None:
    """Eight steps of `Trainer.from_config`, on images in memory."""
    config = distgan.load_config("quickstart", overrides)
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    trainer = distgan.Trainer.from_config(config, images, np.arange(40) % 10)
    losses = [metrics["loss/g"].item() for metrics in trainer.steps(8)]
    digest = trainer.generator().weight_digest
    trainer.close()
    Path(f"{out}.{_rank()}").write_text(json.dumps([losses, digest]))


def begin_from_a_slow_hub(out: Path, file: str, seconds: float, overrides: tuple[str, ...]) -> None:
    """A step that begins with the weights of a repository whose download takes so long."""
    import huggingface_hub

    def fetch(*_given: Any, **_more: Any) -> str:
        time.sleep(seconds)
        return file

    huggingface_hub.hf_hub_download = fetch
    config = distgan.load_config("quickstart", (*overrides, "init.from=hf://me/cats"))
    trainer = distgan.Trainer.from_config(config)
    digest = trainer.generator().weight_digest
    list(trainer.steps(1))
    trainer.close()
    Path(f"{out}.{_rank()}").write_text(json.dumps(digest))


def told_by(out: Path, processes: int) -> list[Any]:
    """What the ranks wrote; None of one that was killed."""
    files = [Path(f"{out}.{rank}") for rank in range(processes)]
    return [json.loads(file.read_text()) if file.exists() else None for file in files]


def _rank() -> str:
    return os.environ.get("RANK", "0")
