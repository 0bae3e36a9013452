"""The second judge as a user makes it: one command trains it, another scores a generator by it."""

from __future__ import annotations

import sys

import pytest

from distgan.data.prepare import Request, prepare
from distgan.data.sources.shapes import Shapes
from distgan.metrics.classifier_file import load_classifier
from distgan.metrics.protocol import load_scores
from tests.support.processes import run
from tests.unit.metrics.test_evaluator import export

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    root = tmp_path_factory.mktemp("judge")
    prepare(Request(root / "train", Shapes(3000)), progress=False)
    prepare(Request(root / "test", Shapes(500), split="test"), progress=False)
    out = root / "judge.safetensors"
    options = ["--test", str(root / "test"), "--out", str(out), "--epochs", "3", "--device", "cpu"]
    code, said = run([sys.executable, "-m", "distgan", "classifier", str(root / "train"), *options])
    assert code == 0, said
    assert "epoch 3: accuracy" in said
    assert f"{out}: 10 classes, accuracy" in said
    return out


def test_it_learns_the_shapes(weights):
    assert load_classifier(weights)[1].accuracy > 0.8


def test_a_generator_is_judged_by_it_in_one_process_and_in_two(weights, shapes, tmp_path):
    generator, found = export(tmp_path / "g.safetensors", conditional=True), []
    for launch in ([], ["torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]):
        out = tmp_path / f"{len(launch)}.json"
        options = {
            "--data": shapes, "--extractor": "classifier", "--weights-file": weights, "--count": 50,
            "--reference-count": 100, "--device": "cpu", "--out": out,
        }  # fmt: skip
        words = [str(word) for pair in options.items() for word in pair]
        code, said = run([sys.executable, "-m", *launch, "distgan", "evaluate", str(generator), *words])
        assert code == 0, said
        found.append(load_scores(out))
    one, two = found
    assert one.protocol == two.protocol
    for name, value in one.values.items():
        assert two.values[name] == pytest.approx(value, rel=1e-5, abs=1e-9), name
    assert one.real_values["class_accuracy_classifier"] > 0.8
    assert one.values["class_accuracy_classifier"] < 0.5
    assert one.real_values["fd_classifier"] < one.values["fd_classifier"]
