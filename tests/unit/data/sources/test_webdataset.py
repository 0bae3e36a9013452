"""`distgan prepare webdataset`: shards of any maker become a data set."""

import gzip
import json

import numpy as np
import pytest

from distgan.cli.main import main
from distgan.data.make import prepare
from distgan.data.shards.manifest import load_manifest
from distgan.data.shards.reader import first_images
from distgan.data.shards.selection import select_shards
from distgan.utils.errors import DataError
from tests.support.foreign import encoded, picture, pixels, tar, webdataset_shards
from tests.support.http_server import serve
from tests.support.shards import make, members


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def made(out, **options):
    manifest = prepare("webdataset", out=out, keep_order=True, progress=False, **options)
    return manifest, first_images(select_shards(out, manifest, None), manifest.count)[0]


def expected(content):
    return np.stack([pixels(data) for data, _ in content]).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
@pytest.mark.parametrize("keep", [True, False])
def test_image_by_image_the_pixels_are_those_of_the_source(tmp_path, ending, keep):
    content = webdataset_shards(tmp_path / "in", ending=ending)
    manifest, images = made(tmp_path / "out", shards=tmp_path / "in", size=16, keep_format=keep)
    np.testing.assert_array_equal(images, expected(content))
    assert manifest.class_counts == {"0": 20, "1": 20, "2": 20}
    stored = [data for name, data in members(tmp_path / "out" / "train-000000.tar") if not name.endswith(".cls")]
    assert (stored == [data for data, _ in content]) == keep


def test_packed_shards_and_those_of_a_server_give_the_same_data_set(tmp_path):
    content = webdataset_shards(tmp_path / "in")
    (tmp_path / "gz").mkdir()
    for path in (tmp_path / "in").iterdir():
        (tmp_path / "gz" / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    first, images = made(tmp_path / "a", shards=tmp_path / "in", size=16)
    assert made(tmp_path / "b", shards=tmp_path / "gz", size=16)[0].digest == first.digest
    with serve(tmp_path / "in") as server:
        url = f"{server.url}/{{000000..000002}}.tar"
        assert made(tmp_path / "c", shards=url, size=16)[0].digest == first.digest
        assert [server.requests[f"00000{i}.tar"] for i in range(3)] == [1, 1, 1]
    np.testing.assert_array_equal(images, expected(content))


def test_classes_come_from_a_field_and_some_can_be_chosen(tmp_path):
    names = ["cat", "dog", "bird"]
    data = [encoded(picture(i)) for i in range(9)]
    contents = [(f"{i}.{end}", data[i] if end == "jpg" else json.dumps({"label": names[i % 3]}).encode())
                for i in range(9) for end in ("jpg", "json")]  # fmt: skip
    tar(tmp_path / "in" / "0.tar", contents)
    manifest, images = made(
        tmp_path / "out", shards=tmp_path / "in", size=16, label="json:label", classes=["dog", "cat"]
    )
    assert manifest.class_counts == {"cat": 3, "dog": 3}
    np.testing.assert_array_equal(images[:2], expected([(data[0], 0), (data[1], 0)]))


def test_the_same_command_again_does_nothing_and_other_shards_are_another_data_set(tmp_path, capsys):
    webdataset_shards(tmp_path / "in")
    command = ["prepare", "webdataset", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--size", "16"]
    for done in ("made", "already complete"):
        assert main(command) == 0
        assert f": {done} (" in capsys.readouterr().out
    tar(tmp_path / "in" / "000000.tar", [("1.jpg", encoded(picture(1))), ("1.cls", b"0")])
    assert main(command) == 2
    assert "holds a data set made with shards =" in capsys.readouterr().err


def test_damaged_images_are_named_all_at_once_or_left_out(tmp_path):
    good = encoded(picture(0))
    tar(tmp_path / "in" / "0.tar", [("a.jpg", good), ("b.jpg", good[:300]), ("c.jpg", b"x")])
    with pytest.raises(DataError, match=r"2 files cannot be used: 0\.tar/b .*, 0\.tar/c .*; .*--skip-bad"):
        made(tmp_path / "out", shards=tmp_path / "in", size=16)
    assert not (tmp_path / "out").exists()
    assert made(tmp_path / "out", shards=tmp_path / "in", size=16, skip_bad=True)[0].count == 1


def test_a_data_set_of_distgan_is_trained_on_as_it_is(tmp_path):
    make(tmp_path / "own", 20)
    with pytest.raises(DataError, match=r"own was made by `distgan prepare`; train on it as it is: data\.path="):
        made(tmp_path / "out", shards=tmp_path / "own")
    assert load_manifest(tmp_path / "own").count == 20
