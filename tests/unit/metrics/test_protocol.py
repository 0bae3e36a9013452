"""Names, protocol and scores: what may be compared with what."""

from __future__ import annotations

import pytest

from distgan.metrics.protocol import Protocol, Scores, check_same, compare, load_scores, save_scores
from distgan.metrics.registry import BETTER, better, full_name
from distgan.utils.errors import QualityError

PROTOCOL = Protocol(
    extractor="efficientnet_lite0",
    extractor_digest="a" * 64,
    resize=112,
    precision="no",
    count=5000,
    seeds="0-4999",
    reference_digest="b" * 64,
    reference_split="train",
    reference_classes=("cat", "frog"),
    reference_count=10_000,
    manifold_k=3,
    density_k=5,
    version=1,
)
SCORES = Scores(
    protocol=PROTOCOL,
    values={"fd_efficientnet_lite0": 60.5, "recall_efficientnet_lite0": 0.5},
    spreads={},
    real_values={"fd_efficientnet_lite0": 52.5, "recall_efficientnet_lite0": 0.66},
    images_seen=200,
    weights="ema",
    weight_digest="c" * 64,
)
OTHERS = {
    "extractor_options": {"layer": 3},
    "extractor": "inception",
    "extractor_digest": "d" * 64,
    "resize": 299,
    "precision": "bf16",
    "count": 2500,
    "seeds": "1-5000",
    "reference_digest": "e" * 64,
    "channels": 1,
    "reference_split": "test",
    "reference_classes": ("frog",),
    "class_counts": (500, 100),
    "truncation": 0.7,
    "reference_count": 5000,
    "manifold_k": 5,
    "density_k": 3,
    "version": 2,
}


def test_only_inception_s_values_have_the_names_of_the_papers():
    assert [full_name(value, "inception") for value in ("fd", "kd", "is")] == ["fid", "kid", "inception_score"]
    assert full_name("coverage", "inception") == "coverage_inception"
    assert full_name("fd", "efficientnet_lite0") == "fd_efficientnet_lite0"
    assert not {"fid", "kid", "inception_score"} & {name for name in BETTER if "lite0" in name}


def test_only_the_protocol_of_gray_images_says_their_channels():
    assert "channels" not in PROTOCOL.model_dump(mode="json")
    assert "channels" not in SCORES.model_dump_json()
    gray = PROTOCOL.model_copy(update={"channels": 1})
    assert gray.key()["channels"] == 1
    assert "channels" not in PROTOCOL.key()
    assert Protocol.model_validate_json(gray.model_dump_json()) == gray
    assert Protocol.model_validate_json(PROTOCOL.model_dump_json()) == PROTOCOL


def test_only_truncated_latents_are_told_and_real_images_do_not_depend_on_them():
    assert "truncation" not in SCORES.model_dump_json()
    truncated = PROTOCOL.truncated(0.7)
    assert truncated.key() == PROTOCOL.key()
    assert Protocol.model_validate_json(truncated.model_dump_json()) == truncated != PROTOCOL


def test_distances_are_better_when_lower_and_all_else_when_higher():
    lower = {name for name in BETTER if better(name) == "lower"}
    assert lower == {
        *("fid", "kid", "fd_efficientnet_lite0", "kd_efficientnet_lite0"),
        *("fd_classifier", "kd_classifier", "memorised_classifier"),
    }


def test_an_unknown_value_is_told_with_the_nearest_name():
    with pytest.raises(QualityError, match="there is no value fd_efficientnet; nearest: fd_efficientnet_lite0"):
        better("fd_efficientnet")


def test_every_value_of_the_shapes_has_a_direction(shapes):
    import numpy as np
    import torch

    from distgan.metrics.shapes_coverage import coverage

    images = torch.zeros((2, 3, 32, 32), dtype=torch.uint8)
    assert {better(name) for name in coverage(images, np.array([0, 1]))} == {"higher"}


def test_scores_survive_the_way_through_a_file(tmp_path):
    save_scores(tmp_path / "new" / "scores.json", SCORES)
    assert load_scores(tmp_path / "new" / "scores.json") == SCORES
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["scores.json"]


def test_scores_of_one_protocol_are_compared_by_their_differences():
    later = SCORES.model_copy(update={"values": {"fd_efficientnet_lite0": 58.0, "recall_efficientnet_lite0": 0.75}})
    assert compare(SCORES, later) == {"fd_efficientnet_lite0": -2.5, "recall_efficientnet_lite0": 0.25}


@pytest.mark.parametrize("field", Protocol.model_fields)
def test_scores_that_differ_in_any_part_of_the_protocol_are_not_compared(field):
    other = PROTOCOL.model_copy(update={field: OTHERS[field]})
    with pytest.raises(QualityError, match=f"the scores cannot be compared: {field} .* against "):
        compare(SCORES, SCORES.model_copy(update={"protocol": other}))


def test_the_first_difference_is_named_with_both_sides():
    other = PROTOCOL.model_copy(update={"seeds": "0-2499", "count": 2500})
    with pytest.raises(QualityError, match=r"^the scores cannot be compared: count 5000 against 2500$"):
        check_same(PROTOCOL, other)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{}", "protocol: Field required"),
        (b"\xff\x00", "Invalid JSON"),
        (SCORES.model_dump_json().replace("60.5", "NaN").encode(), "finite number"),
        (b"0" * (2 << 20), "more than 1,048,576 bytes"),
        (SCORES.model_dump_json().replace('"version":1', '"version":1,"\x1b[2J":1').encode(), "Invalid JSON|Extra"),
    ],
)
def test_a_file_that_holds_no_scores_is_told_in_a_sentence(tmp_path, content, reason):
    path = tmp_path / "scores.json"
    path.write_bytes(content)
    with pytest.raises(QualityError, match=f"holds no scores: .*({reason})") as error:
        load_scores(path)
    assert str(error.value).isprintable()


def test_a_missing_file_and_one_that_cannot_be_written_are_told(tmp_path):
    with pytest.raises(QualityError, match="cannot be read: No such file"):
        load_scores(tmp_path / "scores.json")
    (tmp_path / "file").touch()
    with pytest.raises(QualityError, match="cannot be written: "):
        save_scores(tmp_path / "file" / "scores.json", SCORES)
