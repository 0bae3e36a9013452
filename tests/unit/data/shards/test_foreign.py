"""Samples of other makers' shards: keys, images and labels."""

import io
import json
from collections import Counter

import pytest

from distgan.data.shards.foreign import ForeignSamples
from distgan.utils.errors import DataError
from tests.support.foreign import tar


@pytest.fixture
def read(tmp_path):
    def read(members, label="cls", passed_over=None):
        path = tar(
            tmp_path / "x.tar", [(name, data if isinstance(data, bytes) else data.encode()) for name, data in members]
        )
        samples = ForeignSamples(label, Counter() if passed_over is None else passed_over)
        found = list(samples.read(io.BytesIO(path.read_bytes()), "x.tar"))
        return [(sample.key, sample.file.format, sample.file.data, sample.label) for sample in found]

    return read


def test_image_and_class_of_a_key_are_a_sample_in_any_order_and_case(read):
    found = read(
        [("1.cls", "7"), ("1.jpg", "J"), ("2.PNG", "P"), ("2.CLS", " cat\n"), ("a/b/3.webp", "W"), ("a/b/3.cls", "7")]
    )
    assert found == [("1", "jpg", b"J", "7"), ("2", "png", b"P", "cat"), ("a/b/3", "webp", b"W", "7")]


def test_keys_with_dots_are_told_apart_by_their_last_dot(read):
    found = read(
        [("v1.0.jpeg", "A"), ("v1.0.cls", "1"), ("v1.1.jpeg", "B"), ("v1.1.cls", "2"), ("w.5.png", "C"), ("w.cls", "3")]
    )
    assert found == [("v1.0", "jpg", b"A", "1"), ("v1.1", "jpg", b"B", "2"), ("w.5", "png", b"C", "3")]


def test_a_mask_beside_the_image_is_no_image_of_its_own(read):
    passed_over = Counter()
    assert read([("1.jpg", "J"), ("1.seg.png", "S"), ("1.cls", "0")], passed_over=passed_over) == [
        ("1", "jpg", b"J", "0")
    ]
    assert passed_over["further image of a sample"] == 1


def test_two_images_of_one_key_are_refused_because_nothing_says_which_is_meant(read):
    with pytest.raises(DataError, match=r"x\.tar/1 has several images \(jpg, png\), and nothing says which"):
        read([("1.jpg", "J"), ("1.png", "P"), ("1.cls", "0")])


def test_texts_and_the_files_of_macos_are_passed_over(read):
    passed_over = Counter()
    members = [
        ("._1.jpg", "x"),
        ("1.jpg", "J"),
        ("1.txt", "caption"),
        ("1.json", "{}"),
        ("2.txt", "no image"),
        ("2.cls", "3"),
    ]
    assert read(members, "none", passed_over) == [("1", "jpg", b"J", "images")]
    assert passed_over == {".txt": 2, ".jpg": 1, ".json": 1, ".cls": 1}


@pytest.mark.parametrize(
    ("field", "value", "label"),
    [("label", 3, "3"), ("label", "cat", "cat"), ("a.b", {"b": 5}, "5"), ("a.b", None, "6"), ("class", "猫", "猫")],
)
def test_the_class_may_be_a_field_of_json(read, field, value, label):
    content = {field.split(".")[0]: value} if value is not None else {"a.b": 6}
    assert read([("1.jpg", "J"), ("1.json", json.dumps(content))], f"json:{field}") == [("1", "jpg", b"J", label)]


@pytest.mark.parametrize(
    ("members", "label", "sentence"),
    [
        (
            [("1.jpg", "J")],
            "cls",
            r"x\.tar/1\.cls is missing, and it holds the class; .*label=json:FIELD or label=none",
        ),
        ([("1.jpg", "J"), ("1.cls", "")], "cls", r"x\.tar/1\.cls holds '', which is no class"),
        ([("1.jpg", "J"), ("1.cls", "9" * 300)], "cls", r"x\.tar/1\.cls holds '9+\.\.\.9+', which is no class|holds"),
        ([("1.jpg", "J"), ("1.cls", b"\x1b[2J")], "cls", r"holds .*, which is no class"),
        ([("1.jpg", "J"), ("1.json", "{")], "json:label", r"x\.tar/1\.json is no JSON"),
        ([("1.jpg", "J"), ("1.json", '{"tag": 1}')], "json:label", r"in the field label; its fields: tag"),
        ([("1.jpg", "J"), ("1.json", '{"label": 1.5}')], "json:label", r"no text or whole number in the field label"),
        ([("1.jpg", "J"), ("1.json", '{"label": true}')], "json:label", r"no text or whole number in the field label"),
        ([("1.jpg", "J"), ("1.json", "[" * 99)], "json:label", r"is no JSON"),
    ],
)
def test_a_label_that_is_none_is_one_sentence(read, members, label, sentence):
    with pytest.raises(DataError, match=sentence):
        read(members, label)
