"""Whatever is done to a file, its reader reads it or says one sentence."""

from __future__ import annotations

import json
import shutil
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distgan.config.load import load_config
from distgan.data.shards.manifest import load_manifest
from distgan.data.sources.safe_pickle import read_batch
from distgan.utils.errors import DataError
from distgan.utils.safe_io import printable
from tests.fuzz import targets
from tests.fuzz.targets import TARGETS, judge

EXAMPLES = {
    "generators": 60,
    "checkpoints": 30,
    "manifests": 25,
    "configs": 50,
    "shards": 25,
    "blocks": 25,
    "cifar10": 30,
    "runs": 25,
}
quick = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)


@pytest.mark.parametrize("name", TARGETS)
def test_good_files_are_read(attack, name):
    assert attack(name).sentence == ""


@pytest.mark.parametrize("name", TARGETS)
def test_forged_and_damaged_files_are_read_or_refused_with_a_sentence(good, tmp_path, name):
    files, place = good(name), tmp_path / "in"
    targets._trainer.cache_clear()

    @settings(quick, max_examples=EXAMPLES.get(name, 10))
    @given(st.integers(0, 2**32))
    def check(seed):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(files, place)
        (place / "out").mkdir()
        TARGETS[name].forge(Random(seed), place)
        outcome = judge(lambda: TARGETS[name].read(place))
        assert not outcome.finding, outcome
        assert [path.name for path in tmp_path.iterdir()] == ["in"]

    check()


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(quick, max_examples=100)
@given(st.binary(max_size=300) | plain.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_as_a_manifest(tmp_path_factory, content):
    place = tmp_path_factory.mktemp("manifest")
    (place / "manifest.json").write_bytes(content)
    with pytest.raises(DataError):
        load_manifest(place)


@settings(quick, max_examples=100)
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_as_a_configuration(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("config") / "recipe.yaml"
    path.write_bytes(content)
    outcome = judge(lambda: load_config(path))
    assert not outcome.finding, outcome


@settings(quick, max_examples=300)
@given(st.binary(max_size=200).map(lambda data: b"\x80\x02" + data + b".") | st.binary(max_size=200))
def test_any_bytes_as_a_pickled_batch(content):
    with pytest.raises(DataError) as caught:
        read_batch(content, "batch", "CIFAR-10", "labels", 10)
    assert str(caught.value).isprintable()


@settings(quick, max_examples=300)
@given(st.text(max_size=400), st.integers(20, 300))
def test_printable_text_is_short_and_has_nothing_that_a_terminal_obeys(text, most):
    shown = printable(text, most)
    assert shown.isprintable()
    assert len(shown) <= most
    assert shown == text or len(text) > most or not text.isprintable()
