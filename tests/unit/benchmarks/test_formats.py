"""The table of a generator's files: every way is measured beside the first, and a failure is told in its row."""

from __future__ import annotations

import pytest

from benchmarks import formats
from benchmarks.formats import Way, exported, facts, generator_of, measure, row, spread
from distgan.inference.formats.portable import Portable
from distgan.inference.generator import load_generator
from tests.unit.inference.test_sampling import export


@pytest.fixture
def generator(tmp_path):
    return load_generator(export(tmp_path / "g.safetensors", conditional=True))


def test_ways_are_measured_in_turns_and_a_failure_says_why(generator, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "SECONDS", 0.01)
    monkeypatch.setattr(formats, "version", lambda name: "1.0")

    def broken(*_):
        raise RuntimeError("no such operator\nand more")

    ways = [
        Way("safetensors", "torch, eager", False, 2**20, Portable(generator.network)),
        exported(generator, tmp_path / "g.pt", "torchscript", True),
        Way("onnx", "onnxruntime", False, None, broken),
    ]
    measure(generator, ways, 4, 3)
    cells = [[cell.strip() for cell in row("g", way, ways[0]).split("|")[1:-1]] for way in ways]
    assert cells[0][:6] == ["g", "safetensors", "torch, eager", "fp32", "0", "1.00 MiB"]
    assert cells[0][7:] == ["1.00 (1.00 to 1.00)", "3"]
    assert cells[1][1:5] == ["torchscript", "torch.jit.load", "fp16", "1"]
    assert float(cells[1][6].partition(" ")[0].replace(",", "")) > 0
    assert cells[2][4] == "fails: RuntimeError: no such operator"
    assert {len(each) for each in cells} == {formats.HEAD.count("|") - 1}, "every row has all columns"
    assert "benchmarks.formats g.safetensors --rounds 3`" in facts(["/home/me/g.safetensors", "--rounds", "3"])


def test_a_recipe_s_name_stands_for_images_of_the_whole_range():
    name, generator = generator_of("quickstart")
    assert name == "quickstart (seed_dcgan)"
    assert generator.sample(range(8)).float().std() > 40
    spread(generator)
    assert generator.sample(range(8)).float().std() > 40, "again changes nothing much"
