"""Samples of other makers' shards: keys, images and labels."""

import io
import json
import tracemalloc
from collections import Counter

import pytest

from distgan.data.shards import foreign
from distgan.data.shards.foreign import ForeignSamples
from distgan.data.shards.tar import READ_ERRORS
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


def test_images_with_names_of_their_own_in_one_sample_are_not_taken_for_samples(read):
    members = [(f"{i}.{part}.jpg", "J") for i in range(3) for part in ("input", "target")]
    with pytest.raises(
        DataError, match=r"x\.tar/0 has several images \(input\.jpg, target\.jpg\), and nothing says which"
    ):
        read(members, "none")


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


def test_many_images_of_one_name_before_the_first_dot_are_not_held_together(tmp_path):
    size = 1 << 18
    members = [
        (f"2023.05.01_{i:05d}.{end}", bytes(size) if end == "jpg" else b"7")
        for i in range(200)
        for end in ("jpg", "cls")
    ]
    path = tar(tmp_path / "x.tar", members)
    tracemalloc.start()
    with path.open("rb") as file:
        keys = [(sample.key, sample.label) for sample in ForeignSamples("cls").read(file, "x.tar")]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert keys == [(f"2023.05.01_{i:05d}", "7") for i in range(200)]
    assert peak < 100 * size


def test_files_that_would_fill_the_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign, "MAX_BYTES", 1000)
    path = tar(tmp_path / "x.tar", [(f"1.{i}.png", bytes(100)) for i in range(20)])
    with path.open("rb") as file, pytest.raises(DataError, match=r"the files called 1 have more than 1,000 bytes"):
        list(ForeignSamples("none").read(file, "x.tar"))
    path = tar(tmp_path / "x.tar", [("1.json", bytes(2 << 20)), ("1.png", b"x")])
    with path.open("rb") as file, pytest.raises(READ_ERRORS, match=r"2,097,152 bytes; 1,048,576 is the most"):
        list(ForeignSamples("json:label").read(file, "x.tar"))
    path = tar(tmp_path / "x.tar", [("1.png", b"x")] * 100)
    with path.open("rb") as file, pytest.raises(DataError, match=r"more than 64 files called 1; rename them"):
        list(ForeignSamples("none").read(file, "x.tar"))
