"""`distgan classifier`: what it refuses before the training, and what it writes."""

from __future__ import annotations

import shutil

import pytest

from distgan.cli import classifier
from distgan.cli.main import main
from distgan.data.prepare import Request, prepare
from distgan.data.sources.shapes import CLASSES, Shapes
from distgan.inference.hub.find import DEMO_FILE
from distgan.metrics.classifier_file import load_classifier
from distgan.metrics.classifier_training import Labelled, Schedule
from distgan.networks import build_classifier

OUT = "c.safetensors"


@pytest.fixture(scope="module")
def gray(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "gray"
    prepare(Request(out, Shapes(30, channels="gray")), progress=False)
    return out


@pytest.fixture
def trained(monkeypatch) -> list[tuple[Labelled, Labelled, Schedule]]:
    """What would have been trained; the network stays as it began."""
    calls: list[tuple[Labelled, Labelled, Schedule]] = []

    def train(real, test, classes, schedule, device, show):
        calls.append((real, test, schedule))
        return build_classifier(32, real.images.shape[1], classes, 0)

    monkeypatch.setattr(classifier, "train_classifier", train)
    return calls


def test_a_tenth_of_the_images_is_kept_for_the_accuracy_which_the_file_holds(shapes, tmp_path, trained, capsys):
    out = tmp_path / "new" / OUT
    arguments = ["classifier", str(shapes), "--out", str(out), "--epochs", "3", "--seed", "7", "--no-flip"]
    assert main([*arguments, "--precision", "bf16"]) == 0
    ((real, test, schedule),) = trained
    assert (len(real.labels), len(test.labels)) == (270, 30)
    assert schedule == Schedule(epochs=3, seed=7, flip=False, bf16=True)
    _, known, _ = load_classifier(out)
    assert (known.class_names, known.size, known.channels, known.tested_on) == (CLASSES, 32, 3, 30)
    said = capsys.readouterr().out
    assert said.startswith(
        f"{out}: 10 classes, accuracy {100 * known.accuracy:.1f} % on 30 other images, 1.26 MB (made"
    )


def test_with_a_test_set_all_images_are_trained_on(gray, tmp_path, trained):
    out, others = tmp_path / OUT, tmp_path / "others"
    prepare(Request(others, Shapes(20, channels="gray")), progress=False)
    assert main(["classifier", str(gray), "--test", str(others), "--out", str(out), "--precision", "no"]) == 0
    ((real, test, schedule),) = trained
    assert (len(real.labels), len(test.labels), schedule.bf16) == (30, 20, False)
    assert load_classifier(out)[1].channels == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["SHAPES", "--out", "c.pt"], "--out c.pt must end in .safetensors; nearest: c.safetensors"),
        (
            ["SHAPES", "--out", "SHAPES/manifest.json/c.safetensors"],
            "SHAPES/manifest.json/c.safetensors cannot be written: ",
        ),
        (["missing", "--out", OUT], "missing"),
        (
            ["SHAPES", "--test", "GRAY", "--out", OUT],
            "--test GRAY: its channels 1 must be those to train on, 3",
        ),
        (
            ["SHAPES", "--test", "SHAPES", "--out", OUT],
            "--test SHAPES has the images to train on; leave it out",
        ),
        (["SHAPES", "--out", OUT, "--device", "cuda:99"], "device cuda:99 cannot be used on this machine"),
        (["ftp://x", "--out", OUT], "ftp://x: "),
    ],
)
def test_a_mistake_is_one_sentence_before_the_training(
    shapes, gray, tmp_path, monkeypatch, trained, capsys, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    places = {"SHAPES": shapes, "GRAY": gray, "DIR": tmp_path}

    def named(text: str) -> str:
        for name, place in places.items():
            text = text.replace(name, str(place))
        return text

    assert main(["classifier", *map(named, arguments)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert named(sentence) in said
    assert not trained


def test_a_file_that_is_no_classifier_is_not_replaced(shapes, tmp_path, trained, capsys):
    generator = tmp_path / "g.safetensors"
    shutil.copy(DEMO_FILE, generator)
    assert main(["classifier", str(shapes), "--out", str(generator)]) == 2
    assert f"--out {generator} would replace another file: " in capsys.readouterr().err
    assert generator.read_bytes() == DEMO_FILE.read_bytes()
    assert not trained


def test_a_single_class_cannot_be_told_apart(shapes, tmp_path, trained, capsys):
    out = tmp_path / "one"
    source = Shapes(20)
    prepare(Request(out, source, classes=("heart",)), progress=False)
    assert main(["classifier", str(out), "--out", str(tmp_path / OUT)]) == 2
    assert "has a single class, heart; a classifier needs two or more" in capsys.readouterr().err
    assert not trained
