"""The model card: its header, its text, and names from a stranger in both."""

from __future__ import annotations

import html
import re

import pytest
import yaml
from huggingface_hub import ModelCard

from distgan.config.networks import SeedGenerator
from distgan.inference.generator import load_generator
from distgan.inference.hub.card import Place, model_card, plain
from distgan.inference.hub.facts import facts_of, renewed
from distgan.utils.errors import ExportError
from tests.unit.inference.test_generator_file import TINY, describe, export

PROTOCOL = {"count": 2000, "reference_count": 10000, "reference_split": "test", "extractor": "inception"}
SCORES = {"values": {"fid": 12.3456789, "kid": 0.01}, "real_values": {"fid": 3.25}, "protocol": PROTOCOL}
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "---\nlicense: x",
    "`rm -rf`",
    "```\n# title",
    "[a](http://evil.example)",
    "www.evil.example",
    "{{ 7 * 7 }}",
    "a | b",
    "$x$ **b** _i_ ~~s~~",
    "&lt;script&gt;",
)


def header_of(card):
    return yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))


@pytest.mark.parametrize("conditional", [True, False])
def test_the_header_has_what_the_hub_reads_for_conditional_generators_too(conditional):
    network = TINY.model_copy(update={"conditional": conditional})
    place = Place("me/cats", grid=True, film=True)
    facts = {"license": "mit", "dataset": "uoft-cs/cifar10"}
    card = model_card(describe(generator=network, scores=SCORES), "d" * 64, facts, place)
    header = header_of(card)
    assert header["license"] == "mit"
    assert header["datasets"] == ["uoft-cs/cifar10"]
    assert header["library_name"] == "distgan"
    assert header["pipeline_tag"] == "unconditional-image-generation"
    assert ("class-conditional-image-generation" in header["tags"]) is conditional
    [index] = header["model-index"]
    assert index["name"] == "cats"
    found = {metric["type"]: metric["value"] for result in index["results"] for metric in result["metrics"]}
    assert found == {"fid": 12.3457, "kid": 0.01}
    assert index["results"][0]["dataset"] == {"type": "uoft-cs/cifar10", "name": "uoft-cs/cifar10"}
    read = ModelCard(card)
    assert {result.metric_type: result.metric_value for result in read.data.eval_results} == found
    assert 'g = load_generator("me/cats")' in card
    assert "![Samples](samples.png)" in card
    assert "](walk.webp)" in card
    assert "| fid | 12.3457 | 3.25 |\n| kid | 0.01 |  |" in card
    assert "Measured with 2000 generated images, 10000 real ones, split test, extractor inception." in card
    assert ("A class-conditional GAN" in card) is conditional
    assert ("g.class_names[0]" in card) is conditional


def test_without_scores_license_or_data_nothing_is_claimed():
    card = model_card(describe(config={}), "d" * 64)
    header = header_of(card)
    assert {"license", "datasets", "model-index"}.isdisjoint(header)
    assert "Scores" not in card
    assert "![" not in card
    assert "| training data | not recorded |" in card
    assert 'load_generator("model.safetensors")' in card


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"prepare": "cifar10", "path": "data/cifar10"}, "cifar10"),
        ({"prepare": None, "path": "/home/somebody/photos of cats/"}, "photos of cats"),
        ({"path": 7}, "7"),
        ("x", "not recorded"),
    ],
)
def test_the_data_set_is_named_by_its_source_or_directory_and_no_home_is_told(data, name):
    card = model_card(describe(config={"data": data}), "d" * 64)
    assert f"| training data | {name} |" in card
    assert "somebody" not in card


@pytest.mark.parametrize("scores", [{}, {"values": 3}, {"values": {"fid": "x", "a": True, "b": None}}, {"protocol": 1}])
def test_scores_of_any_shape_make_a_card(scores):
    assert "model-index" not in header_of(model_card(describe(scores=scores), "d" * 64))


def test_names_from_a_stranger_are_shown_as_they_are_and_nothing_else(tmp_path):
    network = SeedGenerator(latent_dim=4, stem_channels=2, width=4, depth=1, conditional=True)
    scores = {"values": dict.fromkeys(HOSTILE, 1.0), "protocol": dict.fromkeys(PROTOCOL, HOSTILE[0])}
    versions = {HOSTILE[0]: HOSTILE[1]}
    path = export(
        tmp_path / "g.safetensors", generator=network, class_names=HOSTILE, scores=scores, versions=versions,
        config={"data": {"path": f"x/{HOSTILE[1]}"}},
    )  # fmt: skip
    load_generator(path).save_pretrained(tmp_path / "hub")
    card = (tmp_path / "hub" / "README.md").read_text()
    header = header_of(card)
    assert "license" not in header
    [result] = header["model-index"][0]["results"]
    kinds = {each["type"] for each in result["metrics"]}
    assert kinds == {name.replace("\n", "\\n") for name in HOSTILE}
    assert ModelCard(card).data.license is None
    assert facts_of(card) == {}
    text = card.split("\n---\n", 1)[1].rpartition("\n<!-- distgan ")[0]
    outside = re.sub(r"```python\n.*?```", "", text, flags=re.DOTALL)
    assert not re.search(r"<|\n---|`rm|\]\(http|www\.evil|\{\{|\$x|\*\*|~~", outside)
    assert outside.count("|") == sum(line.count("|") for line in outside.splitlines() if line.startswith("|"))
    assert "alert" not in re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    [row] = re.findall(r"^\| classes \| (.*) \|$", text, re.MULTILINE)
    assert html.unescape(row) == ", ".join(name.replace("\n", "\\n") for name in HOSTILE)


def test_the_signs_of_plain_text_are_references_and_words_stay_readable():
    assert plain("seed_dcgan 2.13.0+cpu, katze-ü (x)") == "seed_dcgan 2.13.0+cpu, katze-ü (x)"
    for sign in '<>&`*[]\\|#!{}$~^@:"':
        assert "<" not in plain(f"a{sign}b")
        assert html.unescape(plain(f"a{sign}b")) == f"a{sign}b"
    assert plain("_a_") == "&#95;a&#95;"
    assert "\n" not in plain("a\nb")


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"license": "Apache 2.0"}, "license=Apache 2.0 is no identifier of a license on the Hub; nearest: apache-2.0"),
        ({"license": "x\ny"}, "is no identifier"),
        ({"license": "other"}, "needs license_name"),
        ({"license": "mit", "license_name": "mine"}, "goes with the license `other`, not with mit"),
        ({"license_name": "mine"}, "license_name goes with the license `other`; choose it too"),
    ],
)
def test_a_license_that_the_hub_cannot_know_is_refused(facts, sentence):
    with pytest.raises(ExportError, match=sentence):
        model_card(describe(), "d" * 64, facts)


def test_a_license_of_one_s_own_has_a_name_and_a_link():
    facts = {"license": "other", "license_name": "mine-1.0", "license_link": "LICENSE"}
    header = header_of(model_card(describe(), "d" * 64, facts))
    assert {name: header[name] for name in facts} == facts


def test_a_card_that_nobody_has_edited_is_known_with_its_facts_and_another_is_not():
    facts = {"license": "other", "license_name": "mine --> x", "dataset": "ö"}
    card = model_card(describe(), "d" * 64, facts)
    assert facts_of(card) == facts
    assert card.rpartition("<!--")[2].count("-->") == 1, "the comment ends where it should"
    for edited in (card.replace("## Use", "## Usage"), card.replace("other", "mit"), "mine", "", f"{card}more"):
        assert facts_of(edited) is None


def test_what_was_said_before_stays_unless_it_is_said_anew():
    held = {"license": "other", "license_name": "mine", "dataset": "cats"}
    assert renewed(held, {}) == held
    assert renewed(held, {"license": "mit"}) == {"license": "mit", "dataset": "cats"}
    assert renewed(None, {"dataset": "dogs"}) == {"dataset": "dogs"}


def test_a_saved_card_is_written_anew_until_somebody_edits_it(tmp_path):
    load_generator(export(tmp_path / "g.safetensors")).save_pretrained(tmp_path / "hub")
    newer = load_generator(export(tmp_path / "g.safetensors", images_seen=99))
    newer.save_pretrained(tmp_path / "hub")
    card = tmp_path / "hub" / "README.md"
    assert "| real images seen in training | 99 |" in card.read_text()
    card.write_text(card.read_text().replace("# GAN", "# My GAN"))
    load_generator(export(tmp_path / "g.safetensors", images_seen=100)).save_pretrained(tmp_path / "hub")
    assert "| real images seen in training | 99 |" in card.read_text()
