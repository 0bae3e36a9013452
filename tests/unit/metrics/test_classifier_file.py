"""The file of a classifier: what is written is what is read, and no other file is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from distgan.metrics.classifier_file import (
    KEY,
    ClassifierDescription,
    load_classifier,
    round_weights,
    save_classifier,
    stored_weights,
)
from distgan.networks import build_classifier
from distgan.utils.errors import QualityError


def description(**changes: object) -> ClassifierDescription:
    facts = {"class_names": ("cat", "dog"), "size": 32, "channels": 3, "accuracy": 0.9, "tested_on": 10}
    return ClassifierDescription(**{**facts, "data_digest": "d" * 64, **changes})  # type: ignore[arg-type]


def write(path: Path, **changes: object) -> Path:
    made = description(**changes)
    save_classifier(path, build_classifier(made.size, made.channels, len(made.class_names), 0), made)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "new" / "c.safetensors")


def test_a_file_gives_back_the_rounded_network_and_what_is_known_of_it(path):
    network = build_classifier(32, 3, 2, 0).eval()
    round_weights(network)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    read, known, digest = load_classifier(path)
    with torch.no_grad():
        for ours, theirs in zip(network(images), read(images), strict=True):
            assert torch.equal(ours, theirs)
    assert known == description()
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not read.training
    assert not any(weight.requires_grad for weight in read.parameters())


@pytest.mark.parametrize(("size", "channels"), [(16, 1), (48, 3), (64, 3), (128, 1)])
def test_other_sizes_and_gray_images_have_files_too(tmp_path, size, channels):
    network, known, _ = load_classifier(write(tmp_path / "c.safetensors", size=size, channels=channels))
    features, logits = network(torch.zeros(1, channels, size, size))
    assert (known.size, features.shape, logits.shape) == (size, (1, 192), (1, 2))


def test_the_same_classifier_is_the_same_file_of_two_megabytes_at_most(path, tmp_path):
    assert write(tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    assert path.stat().st_size < 2e6
    with safe_open(path, framework="pt") as file:
        assert list(file.metadata()) == [KEY]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"class_names": ["cat", "cat"]}, "two classes have the same name"),
        ({"class_names": ["cat\x1b", "dog"]}, "class_names.0: it holds characters that cannot be shown"),
        ({"class_names": ["cat"]}, "class_names: .*at least 2 items"),
        ({"size": 100_000}, "size: .*less than or equal to 512"),
        ({"channels": 2}, "channels: .*1 or 3"),
        ({"accuracy": 1.5}, "accuracy: .*less than or equal to 1"),
        ({"format_version": 2}, "format_version: .*1"),
        ({"code": "print(1)"}, "code: .*not permitted"),
    ],
)
def test_a_forged_description_is_refused_by_its_first_mistake(path, changes, said):
    content = json.loads(description().model_dump_json()) | changes
    safetensors.torch.save_file(stored_weights(build_classifier(32, 3, 2, 0)), path, {KEY: json.dumps(content)})
    with pytest.raises(QualityError, match=f"does not describe a classifier: {said}.*`distgan classifier DATA"):
        load_classifier(path)


def test_weights_of_another_network_are_refused_by_name(path):
    for classes, removed, said in (
        (3, None, "last.bias is float32 .3., and a classifier of 32 pixels and 2 classes has float32 .2."),
        (2, "last.bias", "last.bias is missing"),
    ):
        weights = stored_weights(build_classifier(32, 3, classes, 0))
        weights.pop(removed, None)
        safetensors.torch.save_file(weights, path, {KEY: description().model_dump_json()})
        with pytest.raises(QualityError, match=said):
            load_classifier(path)


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"PK\x03\x04" + bytes(100), b"\xff" * 50])
def test_a_file_of_another_program_is_one_sentence(path, content):
    path.write_bytes(content)
    with pytest.raises(QualityError, match="is not the file of a classifier: .*`distgan classifier DATA --out FILE"):
        load_classifier(path)


def test_another_safetensors_file_a_missing_one_and_a_directory_are_refused(path, tmp_path):
    safetensors.torch.save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(QualityError, match="is not the file of a classifier: it has no description of one"):
        load_classifier(path)
    with pytest.raises(QualityError, match="cannot be read: No such file or directory"):
        load_classifier(tmp_path / "missing")
    with pytest.raises(QualityError, match="cannot be read: "):
        load_classifier(tmp_path)
    with pytest.raises(QualityError, match="cannot be written: "):
        write(path / "below.safetensors")
