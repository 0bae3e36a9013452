"""What is done with a generator, and before the first step."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.speed.baselines.dataset import shapes
from benchmarks.speed.baselines.pytorch_loop import CLASSES, SIZE, device
from benchmarks.speed.interleave import turns
from distgan.config.load import load_config
from distgan.data.sources.shapes import CLASSES as NAMES
from distgan.inference.generator import Generator
from distgan.inference.generator_file import Description
from distgan.metrics.evaluator import Evaluator
from distgan.metrics.extractors.base import load_extractor
from distgan.networks import build_generator
from distgan.utils.images import to_bytes

ROOT = Path(__file__).resolve().parent.parent.parent.parent
Work = Callable[[], int]


def generator(recipe: str) -> Generator:
    """With fresh weights."""
    config = load_config(recipe, [])
    network = build_generator(config.generator, SIZE, CLASSES, 0).eval()
    description = Description.of(config, size=SIZE, class_names=NAMES, images_seen=0, data_digest="0" * 64, scores=None)
    return Generator(network, description, "0" * 64, device())


@turns
def sampling(recipe: str = "quickstart", count: str = "512") -> Work:
    """`Generator.sample`: seeds in, bytes out."""
    made, seeds = generator(recipe), range(int(count))

    def work() -> int:
        made.sample(seeds)
        return len(seeds)

    return work


@turns
def forward(recipe: str = "quickstart", count: str = "512", batch: str = "16") -> Work:
    """The network alone, in batches, with bytes as its end."""
    network, latents = generator(recipe).network, load_config(recipe, []).generator.latent_dim

    def work() -> int:
        with torch.inference_mode():
            for start in range(0, int(count), int(batch)):
                labels = torch.arange(start, start + int(batch), device=device()) % CLASSES
                to_bytes(network(torch.randn(int(batch), latents, device=device()), labels)).cpu()
        return int(count)

    return work


def judged() -> tuple[list[str], int]:
    count = 512
    return [f"data.path={shapes()}", "evaluate.reference_count=1000", f"evaluate.count={count}"], count


@turns
def evaluation() -> Work:
    """`distgan evaluate`'s work on the quickstart's generator: images, features, every value of the protocol."""
    settings, count = judged()
    config, made = load_config("quickstart", settings), generator("quickstart")
    evaluator = Evaluator(config.evaluate, config.data, device(), show=False)

    def work() -> int:
        evaluator.evaluate(made)
        return count

    return work


@turns
def features() -> Work:
    """The extractor alone, on images in memory."""
    settings, count = judged()
    extractor = load_extractor(load_config("quickstart", settings).evaluate, device())
    assert extractor
    images = torch.randint(256, (count, 3, SIZE, SIZE), dtype=torch.uint8)

    def work() -> int:
        for batch in images.split(extractor.batch_size):
            extractor(batch)
        return count

    return work


@turns
def launch() -> Work:
    """`accelerate launch distgan/train.py` on prepared data, until its first step is in metrics.jsonl."""
    data = shapes()

    def work() -> int:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:  # W&B's service may still write there
            own = [f"run.dir={scratch}", f"data.path={data}", "data.prepare=null", "log.every_steps=1"]
            command = ["accelerate.commands.launch", "--quiet", str(ROOT / "distgan" / "train.py"), *own]
            process = subprocess.Popen([sys.executable, "-m", *command], stdout=sys.stderr, start_new_session=True)
            metrics = Path(scratch) / "quickstart" / "metrics.jsonl"
            try:
                while process.poll() is None and not (metrics.exists() and metrics.stat().st_size):
                    time.sleep(0.02)
                if code := process.poll():
                    raise RuntimeError(f"the training ended with exit code {code}")
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return 1

    return work


@turns
def imports() -> Work:
    """A process that imports torch and accelerate, twice, as a launcher and its process must."""

    def work() -> int:
        for _ in range(2):
            subprocess.run([sys.executable, "-c", "import torch, accelerate"], check=True)
        return 1

    return work
