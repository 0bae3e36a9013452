"""Data sets by a call: `distgan.prepare`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import distgan
from distgan.config.base import Frozen
from distgan.data.shards.manifest import load_manifest
from distgan.data.sources.shapes import Shapes
from distgan.utils.errors import DataError
from tests.unit.cli.test_prepare import _run


class Drawn:
    """A source from outside."""

    class Settings(Frozen):
        number: int

    def __init__(self, settings):
        self.offer = Shapes(settings.number).offer


def test_it_makes_what_the_command_makes(tmp_path):
    made = distgan.prepare(
        "shapes", tmp_path / "call", progress=False, count=40, classes=["star", "heart"], seed=3, layout="blocks"
    )
    _run(
        "shapes",
        "--out",
        tmp_path / "command",
        "--count",
        40,
        "--classes",
        "star,heart",
        "--seed",
        3,
        "--layout",
        "blocks",
    )
    assert made == load_manifest(tmp_path / "command")
    assert made.request["seed"] == made.request["order_seed"] == 3


def test_a_folder_takes_its_own_options(tmp_path):
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "mine" / name / "1.png")
    made = distgan.prepare("folder", tmp_path / "out", directory=str(tmp_path / "mine"), size=16, progress=False)
    assert (made.size, made.classes, made.count) == (16, ("cat", "dog"), 2)


def test_a_source_may_be_an_object_or_a_class_from_outside(tmp_path):
    by_object = distgan.prepare(Shapes(30), tmp_path / "a", shard_size=10, progress=False)
    by_class = distgan.prepare(f"{__name__}:Drawn", tmp_path / "b", number=30, shard_size=10, progress=False)
    assert len(by_object.shards) == 3
    assert by_object.digest == by_class.digest


@pytest.mark.parametrize(
    ("source", "options", "sentence"),
    [
        ("shapes", {"cuont": 5}, "prepare shapes: cuont is no option; nearest: count; there are"),
        ("shapes", {"count": 0}, "prepare shapes: count=0: .*greater than 0"),
        ("shapes", {"shard_size": "many"}, "prepare shapes: shard_size=many: .*integer"),
        ("folder", {}, "prepare folder: directory: Field required"),
        ("folder", {"directory": "x", "white": -1}, "prepare folder: white=-1: .*greater than 0"),
        ("shape", {}, "prepare: source shape must be one of shapes, cifar10, cifar100, .*nearest: shapes"),
        ("shapes", {"classes": ["star", "frog"]}, "class 'frog' is not in this data set"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_made(source, options, sentence, tmp_path):
    with pytest.raises(DataError, match=sentence):
        distgan.prepare(source, tmp_path / "out", progress=False, **options)
    assert not (tmp_path / "out").exists()


def test_an_option_of_a_source_does_not_go_with_an_object(tmp_path):
    with pytest.raises(DataError, match="prepare: count is no option"):
        distgan.prepare(Shapes(30), tmp_path / "out", count=20)


def test_out_must_be_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="out='': it is empty"):
        distgan.prepare("shapes", "")
    assert not list(Path().iterdir())
