"""The stages: does it run, the tests that need a GPU, speed, quality. Each is a command that a user could type."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.gpu.plan import NO_GPU, Stage
from benchmarks.quality.rows import RECIPES, Key
from benchmarks.speed.gpu_rows import MODERN, MODES
from distgan.config.load import load_config
from distgan.data.shards.manifest import MANIFEST

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON = (sys.executable, "-m")
LAUNCH = (*PYTHON, "accelerate.commands.launch", "--quiet", "--config_file", str(ROOT / "launch" / "one.yaml"))
PRECISIONS = {"bf16": "bf16", "fp16": "fp16", "fp32": "no"}  # stage -> train.precision
WAIT_FREE = ("seed_frogs", "sngan_conditional", "r3gan_small", "cifar10", "cifar10_cpu")
NO_DATA = "needs --data DIR: CIFAR-10 as class folders, or as `distgan prepare cifar10` makes it"
SECONDS = 60  # of training, for quality
ROUNDS = 3  # of each row of speed
IMAGES, FEW_IMAGES = 4_000, 12  # of a training that only has to run
TINY = ("train.batch_size=4", "discriminator.width=8")
SMALL_LIMIT = 300
MARKED = re.compile(r'@pytest\.mark\.needs\("gpu"\)\n(?:@.*\n)*def (test_\w+)')


@dataclass(frozen=True)
class Work:
    """What the stages are made for."""

    out: Path
    data: Path | None
    """A prepared data set or class folders; None: the embedded shapes."""
    small: bool
    gpu: bool
    """Whether there is one."""

    @property
    def shards(self) -> Path:
        """The data set that the stages read."""
        if self.data and (self.data / MANIFEST).is_file():
            return self.data
        return self.out / ("data" if self.data else "shapes")

    @property
    def batch(self) -> int:
        """Of a training that only has to run."""
        return 4 if self.small else 20

    @property
    def rounds(self) -> int:
        """Of each row of speed."""
        return 2 if self.small else ROUNDS

    @property
    def seconds(self) -> int:
        """Of training, for quality."""
        return 2 if self.small else SECONDS

    @property
    def images(self) -> int:
        return FEW_IMAGES if self.small else IMAGES


def all_stages(work: Work) -> list[Stage]:
    """In the order in which they are done."""
    stages = [*data(work), *runs(work), tests(work), *speed(work), *quality(work)]
    return [replace(stage, limit=SMALL_LIMIT, least=5) for stage in stages] if work.small else stages


def first(work: Work) -> str:
    """The stage that makes the data set; an empty string if it is there."""
    return "" if work.shards == work.data else "data"


def data(work: Work) -> Iterator[Stage]:
    """Prepares what is not prepared."""
    if not first(work):
        return
    source = (
        ("folder", str(work.data), "--size", "32")
        if work.data
        else ("shapes", "--count", "300" if work.small else "2000")
    )
    yield Stage("data", (*PYTHON, "distgan", "prepare", *source, "--out", str(work.shards)), limit=180)


def runs(work: Work) -> Iterator[Stage]:
    """The seed recipe in three precisions, resumed, its images on CPU and GPU; then steps that must not wait."""
    for name, precision in PRECISIONS.items():
        lacks = "" if work.gpu or precision != "fp16" else NO_GPU
        command, run = training(work, name, work.images), work.out / "runs" / name
        yield Stage(f"runs-{name}", command, 90, 20, lacks, leaves=run, needs=first(work))
    checkpoint = work.out / "runs" / "bf16" / "checkpoints" / f"step-{work.images // work.batch:09d}"
    resumed = training(work, "bf16", 2 * work.images)
    yield Stage("runs-resume", (*resumed, "--resume", str(checkpoint)), 60, 20, needs="runs-bf16")
    lacks = "" if work.gpu else NO_GPU
    file = str(work.out / "runs" / "bf16" / "generator.safetensors")
    command = (*PYTHON, "benchmarks.gpu.checks", "images", file)
    yield Stage("runs-images", command, 60, 20, lacks, tells=True, needs="runs-bf16")
    for recipe in WAIT_FREE:
        command = (*PYTHON, "benchmarks.gpu.checks", "no_wait", recipe, f"data.path={work.shards}")
        yield Stage(f"runs-no_wait-{recipe}", command, 90, 20, lacks, tells=True, needs=first(work))


def training(work: Work, name: str, images: int) -> tuple[str, ...]:
    """The seed recipe, as a user starts it."""
    script = (str(ROOT / "distgan" / "train.py"), "--config", str(ROOT / "configs" / "seed_frogs.yaml"))
    data = (f"data.path={work.shards}", "data.prepare=null", "data.classes=null")
    place = (f"run.dir={work.out / 'runs'}", f"run.name={name}", "wandb.mode=disabled", "log.every_steps=10")
    tiny = (*TINY, "generator.width=16") if work.small else ()
    return (*LAUNCH, *script, *data, *place, f"train.precision={PRECISIONS[name]}", f"train.images={images}", *tiny)


def tests(work: Work) -> Stage:
    """The tests that are marked so, by name: the others have the exact figures of a CPU."""
    command = (
        "env",
        "DISTGAN_TEST_GPU=1",
        *PYTHON,
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *gpu_tests(ROOT / "tests"),
    )
    return Stage("tests", command, 150, 20, "" if work.gpu else NO_GPU, tells=True)


def gpu_tests(folder: Path) -> list[str]:
    """pytest's names of all tests marked `needs("gpu")`."""
    return [
        f"{path.relative_to(folder.parent)}::{name}"
        for path in sorted(folder.rglob("test_*.py"))
        for name in MARKED.findall(path.read_text())
    ]


def speed(work: Work) -> Iterator[Stage]:
    """What FLOPs are compared with; the seed recipe at batch 20; each modern recipe in its own batch."""
    rows = {"peaks": "peak_*", "seed_frogs": "step_seed_frogs_bf16_20_*"}
    rows |= {recipe: ",".join(f"own_{recipe}_{mode}" for mode in MODES) for recipe in MODERN}
    if work.small:
        rows = {
            "peaks": "peak_product",
            "step": "step_seed_frogs_bf16_20_eager" if work.gpu else "step_quickstart_no_16",
        }
    for name, pattern in rows.items():
        out = work.out / "speed" / f"{name}.jsonl"
        command = (*PYTHON, "benchmarks.speed", "--rows", pattern, "--rounds", str(work.rounds), "--out", str(out))
        yield Stage(f"speed-{name}", command, 300, 30, leaves=out)


def quality(work: Work) -> Iterator[Stage]:
    """The recipes with classes, each for a minute, with scores and a grid."""
    out, seconds = work.out / "quality", work.seconds
    recipes = [recipe for recipe in RECIPES if load_config(recipe).generator.conditional]
    judge: tuple[str, ...] = ()
    if work.small:
        recipes = recipes[:1]
        few = ("--count", "200", "--reference-count", "300") if work.data else ("--count", "20", "--extractors", "none")
        judge = (*few, *TINY, "generator.width=8")
    for recipe in recipes:
        asked = (str(out), "--data", str(work.shards), "--recipes", recipe, "--seconds", str(seconds))
        lacks = "" if work.data or work.small else NO_DATA
        yield Stage(
            f"quality-{recipe}",
            (*PYTHON, "benchmarks.quality", *asked, *judge),
            4 * SECONDS,
            2 * SECONDS,
            lacks,
            leaves=out / Key(recipe, seconds, 0).name,
            needs=first(work),
        )


def of_group(stages: Iterable[Stage], group: str) -> list[Stage]:
    return [stage for stage in stages if stage.group == group]
