"""Configurations that are programs or bombs."""

from __future__ import annotations

import pytest

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "*alias"),
        ("train: &t [*t, *t]\n", "*alias"),
        ("run: {name: !!python/object/apply:os.system ['touch canary']}\n", "!tag"),
        ("run: {name: !!python/name:os.system x}\n", "!tag"),
        ("run: {seed: !!int x}\n", "!tag"),
        ("run: {seed: !!timestamp x}\n", "!tag"),
        ("run: {seed: " + "9" * 5000 + "}\n", "100 digits"),
        ("run: {seed: 0x" + "f" * 5000 + "}\n", "run.seed=0xff"),
        ("run: {seed: " + "1:" * 3000 + "1}\n", "run.seed=1:1:"),
        ("run: {seed: 0x_}\n", "run.seed=0x_"),
        ("train: {images: ._}\n", "train.images"),
        ("[" * 30_000, "16 levels"),
        ("{a: " * 10_000, "16 levels"),
        ("- " * 30_000, "16 levels"),
        ("a: b\n" * 10_000, "appears twice"),
        ("".join(f"k{i}: 1\n" for i in range(6000)), "more mistakes"),
        ("x" * 900 + ": 1\n", "unknown key"),
        ("train: {images: '\\x1b[2J'}\n", "train.images"),
        ('train: {images: "\\x1b[2J\\u202e\\n"}\n', "\\x1b"),
        ('"\\x1b[2J": 1\n', "\\x1b"),
        ('run: {name: "\\ud800"}\n', ""),
        ("train: [1, 2]\n", "is a section"),
        ("train: {images: .nan}\n", "train.images"),
        ("train: {images: 1e400}\n", "train.images"),
        ("optimizer: {generator: {name: [[[]]]}}\n", "must be one of"),
        ("generator: {upsamples: 1000000000}\n", "nearest valid: 12"),
        ("discriminator: {downsamples: 1000000000}\n", "nearest valid: 12"),
        ("? {a: b}\n: 1\n", "not valid YAML"),
        ("? [a]\n: 1\n", "not valid YAML"),
        ("run: {dir: " + "/x" * 20_000 + "}\n", ""),
        ("%YAML 9.9\n--- {}\n", "not valid YAML"),
        ("# " + "x" * 70_000, "more than 65,536 bytes"),
    ],
)
def test_a_hostile_configuration_is_one_sentence_per_mistake(attack, text, words):
    outcome = attack("configs", lambda place: (place / "recipe.yaml").write_text(text))
    assert words in outcome.sentence
    assert bool(outcome.sentence) or not words


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\x00", b"a: \x1b[2J\n", b"a: \x80\n", b"\xef\xbb\xbf", b"\x85\x85"])
def test_bytes_that_are_no_text(attack, content):
    attack("configs", lambda place: (place / "recipe.yaml").write_bytes(content))
