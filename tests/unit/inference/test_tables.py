"""Grids with a meaning in each row and column: seeds by classes, truncations by seeds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from distgan.cli.main import main
from distgan.inference.generator import load_generator
from distgan.inference.tables import by_class, by_truncation
from distgan.utils.images import to_grid
from tests.unit.inference.test_sampling import NAMES, export


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return export(tmp_path / "g.safetensors", conditional=True)


def test_a_row_has_one_latent_and_a_column_one_class(path):
    generator = load_generator(path)
    table = by_class(generator, [5, 8], truncation=0.7).unflatten(0, (2, len(NAMES)))
    for column, name in enumerate(NAMES):
        wanted = generator.sample([5, 8], name, truncation=0.7)
        assert (table[:, column].int() - wanted.int()).abs().max() <= 1
    assert (table[0, 0].int() - table[0, 1].int()).abs().max() > 1, "classes differ"


def test_a_row_has_one_truncation_and_a_column_one_seed(path):
    generator = load_generator(path)
    table = by_truncation(generator, [5, 8, 2], [0.3, None]).unflatten(0, (2, 3))
    for row, limit in enumerate((0.3, None)):
        assert (table[row].int() - generator.sample([5, 8, 2], truncation=limit).int()).abs().max() <= 1


@pytest.mark.parametrize(
    ("arguments", "columns", "images"),
    [
        (["--grid-classes", "--seeds", "0-3"], 3, lambda g: by_class(g, range(4))),
        (["--grid-classes", "--seeds", "7", "--classes", "ship,cat"], 2, lambda g: by_class(g, [7], ["ship", "cat"])),
        (
            ["--truncations", "0.3, 0.7,none", "--seeds", "0-4"],
            5,
            lambda g: by_truncation(g, range(5), [0.3, 0.7, None]),
        ),
        (
            ["--truncations", "0.5", "--seeds", "0-1", "--classes", "cat"],
            2,
            lambda g: by_truncation(g, range(2), [0.5], ["cat", "cat"]),
        ),
        (
            ["--truncations", "0.5", "--seeds", "0-1", "--mix", "cat,ship,0.25"],
            2,
            lambda g: by_truncation(g, range(2), [0.5], {"cat": 0.75, "ship": 0.25}),
        ),
    ],
)
def test_the_command_writes_the_grid(path, arguments, columns, images):
    assert main(["sample", "g.safetensors", *arguments, "--out", "x.png"]) == 0
    with Image.open("x.png") as written:
        wanted = to_grid(images(load_generator(path)), columns)
        assert np.array_equal(np.array(written), np.array(wanted))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--grid-classes", "--out", "x.npz"], "--grid-classes makes a grid, but --out is x.npz; use NAME.png"),
        (["--truncations", "0.5", "--out", "x"], "--truncations makes a grid, but --out is x; use NAME.png"),
        (["--truncations", "0.5,", "--out", "x.png"], "--truncations= must be a number, such as 0.7"),
        (["--truncations", "0.5,-1", "--out", "x.png"], "truncation=-1.0 must be a number above 0"),
        (
            ["--grid-classes", "--truncations", "1", "--out", "x.png"],
            "--grid-classes and --truncations do not go together",
        ),
        (["--truncations", "1", "--truncation", "1", "--out", "x.png"], "--truncations and --truncation do not go"),
        (["--grid-classes", "--walk", "1,2", "--out", "x.webp"], "--grid-classes and --walk do not go together"),
        (["--grid-classes", "--columns", "3", "--out", "x.png"], "--grid-classes and --columns do not go together"),
        (["--grid-classes", "--mix", "cat,ship,0.5", "--out", "x.png"], "--grid-classes and --mix do not go together"),
        (["--grid-classes", "--classes", "dog", "--out", "x.png"], "there is no class dog"),
        (["--grid-classes", "--seeds", "0-9999", "--out", "x.png"], "a grid holds up to 10,000 images, not 30,000"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(path, capsys, arguments, sentence):
    assert main(["sample", "g.safetensors", *arguments]) == 2
    assert sentence in capsys.readouterr().err
    assert [each.name for each in path.parent.iterdir()] == ["g.safetensors"]


def test_a_generator_without_classes_has_no_columns_of_them(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export(tmp_path / "g.safetensors")
    assert main(["sample", "g.safetensors", "--grid-classes", "--out", "x.png"]) == 2
    assert "unconditional: it has no classes for columns" in capsys.readouterr().err
    assert torch.equal(
        by_truncation(load_generator("g.safetensors"), [1], [None]), load_generator("g.safetensors").sample([1])
    )
