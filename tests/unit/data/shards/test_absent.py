"""What is said about a path that holds no data set: true, and with the nearest one that exists."""

import hashlib
import json
import shutil
import tarfile
from pathlib import Path

import pytest

from distgan.data.shards.absent import beside
from distgan.data.shards.manifest import load_manifest
from distgan.data.shards.reader import read_pieces
from distgan.data.shards.selection import select_shards
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
    sentence = _sentence(Path("data/shapes"))
    assert f"data/shapes does not exist in the working directory, {place}/notebooks" in sentence
    assert f"nearest: {place}/data/shapes" in sentence


def test_an_empty_directory_may_be_a_disk_that_is_not_mounted(tmp_path):
    (tmp_path / "mount").mkdir()
    sentence = _sentence(tmp_path / "mount")
    assert "is empty, so it is no data set; " in sentence
    assert "; mount it if it is a mount point, or make one" in sentence


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
    assert "holds 5 tar file(s) and no manifest.json; " in sentence
    assert "copy its manifest.json as well if distgan has made them, or make a data set of them with" in sentence
    assert f"--out {copy}`" not in sentence  # which would be refused: the directory holds other files


def test_a_manifest_and_a_shard_of_another_maker_are_not_called_damaged_alone(shapes, tmp_path):
    copy = shutil.copytree(shapes, tmp_path / "copy")
    shard = copy / "train-000000.tar"
    with tarfile.open(shard) as old, tarfile.open(tmp_path / "pax.tar", "w", format=tarfile.PAX_FORMAT) as new:
        for member in old:
            member.mtime = 1.5  # which only a PAX header can hold
            new.addfile(member, old.extractfile(member))
    (tmp_path / "pax.tar").rename(shard)
    manifest = json.loads((copy / "manifest.json").read_text())
    content = shard.read_bytes()
    manifest["shards"][0] |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    selection = select_shards(copy, load_manifest(copy), None)
    with pytest.raises(DataError, match=r"000000\.tar is not in the form of distgan's shards: .* such as PAX headers"):
        list(read_pieces(selection, selection.shards[0]))
    (copy / "manifest.json").write_text(json.dumps({"shards": ["00000.tar"]}))
    assert "or not made by distgan: source: Field required; name shards of another maker them" in _sentence(copy)


def test_a_directory_of_images_is_answered_with_prepare_folder(tmp_path, monkeypatch):
    (tmp_path / "pics" / "cat").mkdir(parents=True)
    assert f"distgan prepare folder {tmp_path}/pics --out {tmp_path}/pics-shards" in _sentence(tmp_path / "pics")
    monkeypatch.chdir(tmp_path / "pics")
    assert f"distgan prepare folder . --out {tmp_path}/pics-shards" in _sentence(Path("."))
    assert beside(Path("/")) == Path("/images-shards")


def test_a_working_directory_that_was_removed_does_not_matter(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert "data does not exist in the working directory" in _sentence(Path("data"))
