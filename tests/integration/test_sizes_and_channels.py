"""Gray images, and images of 64 and 128 pixels, by the commands: trained, resumed, exported, sampled, reported."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from distgan.cli.main import main
from distgan.inference.generator import load_generator
from distgan.training.report.collect import gather
from distgan.training.report.contents import Missing
from tests.support.config import TINY

pytestmark = pytest.mark.slow
LIGHT = (
    *("run.dir=runs", "run.name=run", "train.batch_size=6", "train.cpu_threads=1", "wandb.mode=disabled"),
    *("log.every_steps=1", "log.samples_every_steps=2", "log.samples=4", "evaluate.every_images=null"),
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _distgan(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def _narrow(recipe: str, size: int) -> list[str]:
    """Widths for a test: of each stage, or one."""
    stages = {32: 4, 64: 5, 128: 6}[size]
    several = ",".join(["16"] * (stages - 1) + ["8"])
    keys = {"r3gan": f"widths={several}", "sngan": f"width={several}", "dcgan": "width=2", "quickstart": "width=8"}
    key = keys[recipe.partition("_")[0]]
    widths = [f"{player}.{key}" for player in ("generator", "discriminator")]
    return [*widths, "train.d_steps=1"]


def _finite(run) -> bool:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return len(rows) > 1 and all(abs(row[name]) < 100 for row in rows for name in ("loss/d", "loss/g"))


@pytest.mark.parametrize("channels", ["rgb", "gray"])
@pytest.mark.parametrize(
    ("recipe", "size"),
    [("r3gan_64", 64), ("r3gan_128", 128), ("sngan_64", 64), ("sngan_128", 128), ("dcgan", 64), ("dcgan", 128),
     ("quickstart", 64), ("quickstart", 128), ("sngan", 32)],
)  # fmt: skip
def test_a_recipe_trains_resumes_exports_and_samples_at_its_size(recipe, size, channels, place):
    depth = {"rgb": 3, "gray": 1}[channels]
    made = ("prepare", "shapes", "--count", 60, "--size", size, "--channels", channels, "--out", "data", "--quiet")
    assert _distgan(*made) == 0
    command = ["train", "--config", recipe, *LIGHT, *_narrow(recipe, size), "data.path=data"]
    assert _distgan(*command, "train.images=18") == 0
    assert _distgan(*command, "train.images=36") == 0
    run = place / "runs" / "run"
    assert _finite(run)
    generator = load_generator(run / "generator.safetensors")
    assert (generator.size, generator.channels, generator.images_seen) == (size, depth, 36)
    assert _distgan("export", run, "--out", "again.safetensors") == 0
    assert load_generator(place / "again.safetensors").weight_digest == generator.weight_digest
    assert _distgan("sample", "again.safetensors", "--seeds", "0-3", "--out", "images") == 0
    with Image.open(place / "images" / "seed-000000002.png") as image:
        assert (image.size, image.mode) == ((size, size), {3: "RGB", 1: "L"}[depth])
    likeness = gather(run).likeness
    assert not isinstance(likeness, Missing)
    assert likeness.fakes.shape[1:] == (depth, size, size)


def test_weights_of_another_number_of_channels_are_counted_as_those_that_do_not_fit(place, capsys):
    for channels in ("rgb", "gray"):
        assert _distgan("prepare", "shapes", "--count", 60, "--channels", channels, "--out", channels, "--quiet") == 0
    command = ["train", "--config", "quickstart", *TINY, "run.dir=runs", "train.images=12"]
    assert _distgan(*command, "data.path=gray", "run.name=gray") == 0
    capsys.readouterr()
    assert _distgan(*command, "data.path=rgb", "run.name=rgb", "init.from=runs/gray") == 0
    told = "".join(capsys.readouterr())
    assert "init: generator 10 of 12 tensors taken" in told
    assert "(there: [1])" in told


@pytest.mark.parametrize("command", ["train", "doctor"])
def test_a_recipe_for_another_size_is_refused_with_the_one_that_fits(command, place, capsys):
    assert _distgan("prepare", "shapes", "--count", 60, "--size", 64, "--out", "data", "--quiet") == 0
    options = ["--config", "r3gan", "data.path=data", "run.dir=runs", "wandb.mode=disabled"]
    assert _distgan(command, *options) == 2
    told = "".join(capsys.readouterr())
    assert (
        "generator.widths has 4 stages, which is for images of 32x32, and the images are 64x64; use "
        "--config r3gan_64, or 5 stages, or images of 32x32"
    ) in told
