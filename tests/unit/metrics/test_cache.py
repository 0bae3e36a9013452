"""The cache of the reference: believed only if it is whole, and never in the way."""

from __future__ import annotations

import numpy as np
import pytest

from distgan.metrics import cache

KEY = {"what": "reference", "data": "d" * 64, "count": 10}
ARRAYS = {"features": np.arange(12, dtype=np.float32).reshape(3, 4), "kernel": np.array(0.25)}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "distgan" / "quality"


def only_file(place):
    (path,) = place.iterdir()
    return path


def test_arrays_come_back_as_they_were_under_their_key_only():
    assert cache.load(KEY) is None
    cache.store(KEY, ARRAYS)
    found = cache.load(KEY)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
    assert cache.load({**KEY, "count": 11}) is None


def test_numbers_come_back_exactly():
    cache.store(KEY, cache.numbers({"fd": 0.1, "kd": -1e-17}))
    assert {name: float(value) for name, value in cache.load(KEY).items()} == {"fd": 0.1, "kd": -1e-17}


def test_a_file_under_another_key_s_name_is_refused(place, capsys):
    cache.store(KEY, ARRAYS)
    stale = only_file(place)
    other = {**KEY, "count": 11}
    cache.store(other, ARRAYS)
    (fresh,) = set(place.iterdir()) - {stale}
    fresh.write_bytes(stale.read_bytes())
    assert cache.load(other) is None
    assert "is damaged or belongs to another key; it is computed again" in capsys.readouterr().err


@pytest.mark.parametrize("place_of_damage", range(0, 1100, 100))
def test_a_flipped_bit_anywhere_gives_the_arrays_or_nothing(place, place_of_damage):
    cache.store(KEY, ARRAYS)
    path = only_file(place)
    content = bytearray(path.read_bytes())
    content[place_of_damage % len(content)] ^= 1
    path.write_bytes(content)
    found = cache.load(KEY)
    assert found is None or all(np.array_equal(found[name], array) for name, array in ARRAYS.items())


def test_a_changed_number_is_refused(place, capsys):
    cache.store(KEY, ARRAYS)
    with np.load(only_file(place)) as archive:
        arrays = dict(archive)
    arrays["kernel"] = np.array(0.5)
    np.savez(only_file(place), **arrays)
    assert cache.load(KEY) is None
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive", b"\x80\x04."])
def test_what_is_no_archive_is_refused(place, content):
    cache.store(KEY, ARRAYS)
    only_file(place).write_bytes(content)
    assert cache.load(KEY) is None


def test_a_pickle_in_the_archive_is_not_run(place):
    cache.store(KEY, ARRAYS)
    np.savez(only_file(place), digest=np.array([print], dtype=object))
    assert cache.load(KEY) is None


def test_an_unwritable_cache_is_a_warning_only(place, capsys):
    place.parent.mkdir()
    place.touch()
    cache.store(KEY, ARRAYS)
    assert "the next evaluation computes it again" in capsys.readouterr().err


def test_the_cache_is_in_the_home_directory_where_xdg_says_nothing(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_directory() == tmp_path / ".cache" / "distgan" / "quality"


def test_without_a_home_directory_nothing_is_cached_and_one_sentence_says_so(no_home, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache._say_once.cache_clear()
    assert cache.cache_directory() is None
    for _ in range(2):
        cache.store(KEY, ARRAYS)
        assert cache.load(KEY) is None
    assert capsys.readouterr().err.count("there is no home directory, so nothing is cached") == 1
    assert list(tmp_path.iterdir()) == [], "no directory of the name ~"
