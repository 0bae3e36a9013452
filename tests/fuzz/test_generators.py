"""Exported generators that ask for what they should not."""

from __future__ import annotations

import hashlib
import json
import os
from random import Random

import pytest

from tests.fuzz import mutations, targets

NAME = "generator.safetensors"


def split(data):
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def join(header, body, length=None):
    raw = json.dumps(header).encode()
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + body


def forge(place, change):
    """The header changed, and checksums that fit."""
    header, body = split((place / NAME).read_bytes())
    meta = json.loads(header["__metadata__"]["distgan"])
    change(header, meta)
    header["__metadata__"]["distgan"] = targets.redigest(json.dumps(meta))
    (place / NAME).write_bytes(join(header, body))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("width", 10**9),
        ("latent_dim", 10**12),
        ("upsamples", 60),
        ("upsamples", 10**9),
        ("depth", 10**9),
        ("stem_channels", 2**62),
    ],
)
def test_a_gigantic_architecture_is_refused_before_it_is_made(attack, key, value):
    outcome = attack("generators", lambda place: forge(place, lambda _, meta: meta["generator"].update({key: value})))
    assert outcome.sentence


@pytest.mark.parametrize("size", [0, 4096, 4097, 10**6, 10**400, True, 8.5])
def test_a_image_of_another_size_is_refused(attack, size):
    assert attack("generators", lambda place: forge(place, lambda _, meta: meta.update(size=size))).sentence


def test_thousands_of_class_names_are_no_more_than_names(attack):
    names = [f"{i}\x1b[31m" for i in range(20_000)]
    outcome = attack("generators", lambda place: forge(place, lambda _, meta: meta.update(class_names=names)))
    assert "does not fit its description" in outcome.sentence


@pytest.mark.parametrize("length", [0, 1, 2**31, 2**40, 2**63 - 1, 2**64 - 1])
def test_a_forged_length_of_the_header(attack, length):
    def change(place):
        header, body = split((place / NAME).read_bytes())
        (place / NAME).write_bytes(join(header, body, length))

    assert "not a safetensors file" in attack("generators", change).sentence


@pytest.mark.parametrize(
    ("key", "value"),
    [("shape", [2**40]), ("shape", [2**62, 4]), ("shape", [-1]), ("data_offsets", [0, 2**63]), ("data_offsets", [8, 0]),
     ("dtype", "F8_E4M3"), ("dtype", "C64"), ("dtype", "object"), ("dtype", None)],
)  # fmt: skip
def test_forged_tensors(attack, key, value):
    assert attack(
        "generators", lambda place: forge(place, lambda header, _: header["dense.bias"].update({key: value}))
    ).sentence


def test_control_characters_in_every_place_of_the_description(attack):
    evil = "\x1b]0;x\x07\x9b31m\u202e\r\n"

    def change(header, meta):
        meta["generator"][evil] = evil
        meta[evil] = evil

    outcome = attack("generators", lambda place: forge(place, change))
    assert "\\x1b" in outcome.sentence


@pytest.mark.parametrize(
    "value", [mutations.DEEP, mutations.DIGITS, mutations.LONE, float("nan"), float("inf"), 10**400]
)
@pytest.mark.parametrize("key", ["config", "extra"])
def test_odd_json_in_the_metadata(attack, key, value):
    def change(place):
        header, body = split((place / NAME).read_bytes())
        meta = json.loads(header["__metadata__"]["distgan"]) | {key: {"a": value}}
        text = mutations.dumps(Random(1), meta)
        header["__metadata__"]["distgan"] = targets.redigest(text)
        (place / NAME).write_bytes(join(header, body))

    attack("generators", change)


@pytest.mark.parametrize("what", ["fifo", "/dev/zero", "/proc/self/mem"])
def test_a_generator_that_is_no_file(attack, what):
    def change(place):
        (place / NAME).unlink()
        os.mkfifo(place / NAME) if what == "fifo" else (place / NAME).symlink_to(what)

    attack("generators", change)


def test_a_model_card_of_a_forged_generator_has_one_line_per_fact(attack, tmp_path):
    from distgan.inference.generator import load_generator

    evil = "cat\n---\n# run `curl evil | sh`\x1b[2J"

    def change(place):
        forge(place, lambda _, meta: meta.update(class_names=["frog", evil], versions={"distgan": evil}))

    assert attack("generators", change).sentence == ""
    load_generator(tmp_path / "in" / NAME).save_pretrained(tmp_path / "card")
    card = (tmp_path / "card" / "README.md").read_text()
    assert "\n# run" not in card
    assert "\x1b" not in card


def test_the_weight_digest_of_an_attacker_is_not_a_signature(attack):
    """Who changes weights and digests gets a generator with other weights, and nothing else: docs/generator_file.md."""

    def change(place):
        header, body = split((place / NAME).read_bytes())
        body = bytes(len(body))
        digest = hashlib.sha256()
        for name in sorted(set(header) - {"__metadata__"}):
            tensor = header[name]
            start, stop = tensor["data_offsets"]
            digest.update(f"{name}\0{tensor['dtype']} {tensor['shape']}\0".encode() + body[start:stop])
        meta = json.loads(header["__metadata__"]["distgan"]) | {"weight_digest": digest.hexdigest()}
        header["__metadata__"]["distgan"] = targets.redigest(json.dumps(meta))
        (place / NAME).write_bytes(join(header, body))

    assert attack("generators", change).sentence == ""
