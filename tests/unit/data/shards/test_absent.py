"""What is said about a path that holds no data set: true, and with the nearest one that exists."""

import shutil

import pytest

from distgan.data.shards.manifest import load_manifest
from distgan.utils.errors import DataError


@pytest.fixture
def place(shapes, tmp_path, monkeypatch):
    """A working directory with a data set in data/shapes."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "shapes").symlink_to(shapes)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _sentence(path):
    with pytest.raises(DataError) as caught:
        load_manifest(path)
    return str(caught.value)


@pytest.mark.parametrize("typed", ["data/shpaes", "dta/shapes", "Data/Shapes", "data", "data/shapes/train"])
def test_a_mistyped_path_is_answered_with_the_nearest_data_set(place, typed):
    sentence = _sentence(place / typed)
    assert "so it is no" in sentence
    assert f"nearest: {place}/data/shapes" in sentence


def test_a_relative_path_in_another_working_directory_is_found_above_it(place, monkeypatch):
    (place / "notebooks").mkdir()
    monkeypatch.chdir(place / "notebooks")
    sentence = _sentence(place.__class__("data/shapes"))
    assert f"data/shapes does not exist in the working directory, {place}/notebooks" in sentence
    assert f"nearest: {place}/data/shapes" in sentence


def test_an_empty_directory_may_be_a_disk_that_is_not_mounted(tmp_path):
    assert "is empty, so it is no data set; mount it if it is a mount point, or make one" in _sentence(tmp_path)


def test_a_file_a_broken_link_and_a_link_to_itself_are_told_apart(shapes, tmp_path):
    assert f"nearest: {shapes}; name its directory" in _sentence(shapes / "manifest.json")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "gone").symlink_to("nowhere")
    for name in ("loop", "gone"):
        assert "is a link that leads nowhere, so it is no data set" in _sentence(tmp_path / name)


def test_shards_of_other_makers_are_named_as_such_with_a_way_that_works(shapes, tmp_path):
    copy = shutil.copytree(shapes, tmp_path / "copy")
    (copy / "manifest.json").unlink()
    sentence = _sentence(copy)
    assert "holds 5 tar file(s) and no manifest.json: shards that distgan has not made cannot be read yet" in sentence
    assert "copy its manifest.json as well if distgan has made them, or unpack them" in sentence
    assert f"--out {copy}" not in sentence  # which would be refused: the directory holds other files


def test_a_directory_of_images_is_answered_with_prepare_folder(tmp_path):
    (tmp_path / "pics" / "cat").mkdir(parents=True)
    assert f"distgan prepare folder {tmp_path}/pics --out {tmp_path}/pics-shards" in _sentence(tmp_path / "pics")
