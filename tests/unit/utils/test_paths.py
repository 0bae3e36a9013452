"""Paths as people write them."""

from pathlib import Path

import pytest

from distgan.utils.paths import name_as_text, shown_path, storable_path, user_path


def test_the_home_directory_is_expanded_and_a_file_called_tilde_keeps_its_name(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert user_path("~") == tmp_path
    assert user_path("~/a b") == tmp_path / "a b"
    assert user_path("a/~") == Path("a/~")
    literal = user_path("./~")
    assert literal == tmp_path / "~"
    assert user_path(literal) == literal


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "it is empty"), (" ", "it is empty"), ("~nobody_here/x", "~nobody_here is nobody's"), ("a\0", "x00")],
)
def test_what_is_no_path_is_refused_with_the_reason(text, reason):
    with pytest.raises(ValueError, match=reason):
        user_path(text)


def test_a_name_that_is_not_utf_8_is_refused_because_it_cannot_be_stored():
    assert str(user_path("a\udcff")) == "a\udcff"
    with pytest.raises(ValueError, match="its name is not UTF-8"):
        storable_path("a\udcff")


def test_names_are_shown_as_their_utf_8_bytes_say():
    assert name_as_text("\udcc3\udca9") == shown_path(Path("\udcc3\udca9")) == "é"  # as an ASCII locale reads them
    assert name_as_text("é") == shown_path("é") == "é"
    assert name_as_text("\udcff") == "\udcff"
