"""Checks by real trainings: six steps at once, three and three, on two processes, and the exported generator."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distgan.config.choices import NEED_INPUT
from distgan.data.prepare import Request, prepare
from distgan.data.sources.shapes import Shapes
from distgan.doctor.contracts.parts import class_names_of, extractor_section, source_of
from distgan.doctor.contracts.subject import Broken, Check, Subject
from distgan.inference.generator import load_generator
from distgan.training.checkpoint import storage

IMAGES, BATCH = 48, 8
LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
TOLERANCE = 1e-3  # of one vector of all weights, float32, six steps
EXACT = 1e-8  # the same in float64: where roundings of float32 grow beyond TOLERANCE, those of float64 are far below
TRAIN, TRAIN_EXACTLY = "distgan.train", "distgan.doctor.contracts.float64"
SECONDS = 300.0


@dataclass(frozen=True)
class Trainings:
    """Runs of one small recipe with the implementation in it."""

    subject: Subject
    scratch: Path

    def checks(self) -> Iterator[Check]:
        """Yields the checks; each uses the runs of those before."""
        if classes := class_names_of(self.subject):
            reason = f"left out: it judges images of its own classes only ({', '.join(classes[:2])}, ...)"
            yield Check("training", lambda: reason)
            return
        yield Check("training", self.check_training)
        yield Check("resume", self.check_resume)
        yield Check("two processes", self.check_two_processes)
        yield Check("export", self.check_export)

    def check_training(self) -> str:
        """Six steps, all numbers finite."""
        self.train("whole")
        if bad := [name for name, value in self.weights("whole").items() if not torch.isfinite(value).all()]:
            raise Broken(f"{bad[0]} is not finite after six steps")
        return f"{IMAGES // BATCH} steps on {IMAGES} images"

    def check_resume(self) -> str:
        """Three steps, then the same command: the same weights, bit for bit."""
        self.train("parts", f"train.images={IMAGES // 2}")
        self.train("parts")
        whole, parts = self.weights("whole"), self.weights("parts")
        if different := [name for name, value in whole.items() if not torch.equal(value, parts[name])]:
            raise Broken(
                f"three steps and then three more give another {different[0]} than six at once: something that it "
                "remembers is in no checkpoint, or it draws random numbers of its own"
            )
        return "3 + 3 steps are 6, bit for bit"

    def check_two_processes(self) -> str:
        """The same weights, up to rounding."""
        self.train("two", launcher=LAUNCH)
        gap = self.gap("whole", "two")
        if gap < TOLERANCE:
            return f"the weights are {gap:.1g} of their length apart"
        exact, said = self.gap_in_float64()
        if exact < EXACT:
            return f"the weights are {gap:.1g} of their length apart, and {said}: training amplifies roundings"
        raise Broken(
            f"two processes train other weights than one: they are {gap:.2g} of their length apart, where rounding "
            f"makes less than {TOLERANCE:g}, and {said}; something depends on how the batch is split, or on the process"
        )

    def gap_in_float64(self) -> tuple[float, str]:
        """How far two processes are from one where roundings are 1e-16, and this in words; NaN if it does not train."""
        try:
            self.train("whole64", module=TRAIN_EXACTLY)
            self.train("two64", launcher=LAUNCH, module=TRAIN_EXACTLY)
        except Broken:
            return math.nan, "in float64, which would tell, it does not train"
        gap = self.gap("whole64", "two64")
        return gap, f"{gap:.1g} in float64"

    def gap(self, one: str, other: str) -> float:
        """How far the weights of two runs are apart: of both networks the larger distance."""
        first, second = self.weights(one), self.weights(other)
        return max(_distance(first, second, network) for network in ("g/", "d/"))

    def check_export(self) -> str:
        """The exported generator draws images."""
        generator = load_generator(self.scratch / "runs" / "whole" / "generator.safetensors")
        images = generator.sample(range(4))
        alone = generator.sample([3])
        if (images[3].int() - alone[0].int()).abs().max() > 1:
            raise Broken("the image of seed 3 depends on the other seeds")
        return f"generator.safetensors draws {list(images.shape)}"

    def train(self, name: str, *overrides: str, launcher: Sequence[str] = (), module: str = TRAIN) -> None:
        """One run by the real command, a module. Raises Broken with its last lines if it fails."""
        recipe = self.scratch / "recipe.yaml"
        if not recipe.exists():
            prepare(Request(self.scratch / "shapes", Shapes(100)), progress=False)
            if self.subject.name in NEED_INPUT:  # a recipe cannot name what such a source reads
                source = source_of(self.subject, self.scratch)
                prepare(Request(self.scratch / "made", source), progress=False)
            recipe.write_text(json.dumps(self.recipe()))  # JSON is YAML
        command = [sys.executable, *launcher, "-m", module]
        command += ["--config", str(recipe), f"run.name={name}", *overrides]
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run(command, env=_environment(), timeout=SECONDS, check=False, **output)  # type: ignore[call-overload]
        if done.returncode:
            last = [line for line in done.stdout.splitlines() if line.strip()][-12:]
            raise Broken(f"training ends with code {done.returncode}:\n    " + "\n    ".join(last))

    def weights(self, name: str) -> dict[str, Tensor]:
        """The newest checkpoint's tensors."""
        directory = self.scratch / "runs" / name / "checkpoints"
        return storage.load(directory / f"step-{storage.steps(directory)[-1]:09d}").tensors

    def recipe(self) -> dict[str, Any]:
        """A small recipe with the implementation in it."""
        kind, own = self.subject.registry.kind, self.subject.section()
        tree: dict[str, Any] = {
            "run": {"dir": str(self.scratch / "runs")},
            "data": {"path": str(self.scratch / "shapes"), "classes": ["star", "heart"]},
            "generator": {"family": "seed_dcgan", "width": 8, "stem_channels": 8, "depth": 1},
            "discriminator": {"family": "seed_dcgan", "width": 8, "dropout": 0.2},
            "train": {"images": IMAGES, "batch_size": BATCH, "cpu_threads": 1, "precision": "no"},
            "guard": {"every_steps": 1},
            "log": {"every_steps": 1, "samples_every_steps": 3, "samples": 4},
            "checkpoint": {"every_steps": 3},
            "wandb": {"mode": "disabled"},
        }
        score = {"every_images": IMAGES // 2, "count": 20, "reference_count": 20}
        prepared = None if self.subject.name in NEED_INPUT else self.subject.name
        places: dict[str, dict[str, Any]] = {
            "generator": {"generator": own},
            "discriminator": {"discriminator": own},
            "loss": {"loss": own, "discriminator": {**tree["discriminator"], "spectral_norm": True}},
            "penalty": {"loss": {"name": "logistic", "penalty": own}},
            "augmentation": {"augment": own},
            "optimizer": {"optimizer": {"generator": own, "discriminator": own}},
            "source": {"data": {"path": str(self.scratch / "made"), "prepare": prepared}},
            "extractor": {"evaluate": {**score, **extractor_section(self.subject)}},
            "metric": {"evaluate": {**score, "metrics": [own]}},
            "tracker": {"log": {**tree["log"], "to": [own]}},
            "controller": {"controllers": [own]},
        }
        return tree | places[kind]


def _environment() -> Mapping[str, str]:
    """This process's, with its own import path, so that the trainings find what it has found."""
    path = os.pathsep.join(part or os.getcwd() for part in sys.path)
    return {**os.environ, "PYTHONPATH": path, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}


def _distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor], prefix: str) -> float:
    """Length of the difference of all weights as one vector, as a share of the length of the first."""
    names = [name for name in one if name.startswith(prefix) and one[name].is_floating_point()]
    first, second = (torch.cat([tensors[name].flatten().double() for name in names]) for tensors in (one, other))
    return ((first - second).norm() / first.norm()).item()
