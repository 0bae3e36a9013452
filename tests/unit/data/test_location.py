"""`data.path` to shards and manifest: distgan's own data sets, and shards of any maker."""

import json
import os
import shutil

import numpy as np
import pytest
import torch

from distgan.config.schema import DataConfig
from distgan.data.dataset import ImageDataset
from distgan.data.location import named_shards, open_data_set
from distgan.data.reference import open_data
from distgan.data.shards.reader import first_images
from distgan.utils.errors import DataError
from distgan.utils.rng import Rows
from tests.support.foreign import encoded, picture, pixels, tar, webdataset_shards
from tests.support.http_server import serve
from tests.support.shards import make


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "distgan" / "shards"


@pytest.fixture
def foreign(tmp_path):
    return tmp_path / "foreign", webdataset_shards(tmp_path / "foreign")


def batches(config, count, start=0, rank=0, world=1, batch=12):
    rows = Rows(0, batch, batch).part(rank, world)
    dataset = ImageDataset(config, 0, rows, torch.device("cpu"), False)
    stream = dataset.batches(start)
    taken = [next(stream) for _ in range(count)]
    stream.close()
    return taken


def test_the_shards_of_webdataset_are_read_as_their_maker_wrote_them(foreign):
    path, content = foreign
    manifest, selection = open_data(DataConfig(path=path))
    assert (manifest.count, manifest.size, manifest.classes, manifest.channels) == (60, 16, ("0", "1", "2"), 3)
    assert [shard.count for shard in manifest.shards] == [20, 20, 20]
    expected = np.stack([pixels(data) for data, _ in content]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(first_images(selection, 60), expected)


@pytest.mark.parametrize("mode", ["stream", "resident"])
def test_ranks_share_an_epoch_and_resume_is_exact(foreign, mode):
    path, content = foreign
    config = DataConfig(path=path, mode=mode, shuffle_buffer=16)
    known = {np.ascontiguousarray(pixels(data).transpose(2, 0, 1)).tobytes(): label for data, label in content}
    ranks = [batches(config, 5, rank=rank, world=2) for rank in range(2)]
    shown = [
        (image.numpy().tobytes(), int(label))
        for rank in ranks
        for batch in rank
        for image, label in zip(*batch, strict=True)
    ]
    assert dict(shown) == known  # each image once, with its label
    assert len(shown) == 60
    later = batches(config, 2, start=3, rank=1, world=2)
    for before, after in zip(ranks[1][3:], later, strict=True):
        assert torch.equal(before.images, after.images)
        assert torch.equal(before.labels, after.labels)


def test_the_first_look_is_kept_until_a_file_changes(foreign, cache, monkeypatch):
    path, _ = foreign
    first = open_data_set(DataConfig(path=path))[1]
    assert len(list(cache.glob("index-*.json"))) == 1
    looks = []
    real = open_data_set.__globals__["index_shards"]
    monkeypatch.setitem(open_data_set.__globals__, "index_shards", lambda *args: looks.append(1) or real(*args))
    assert open_data_set(DataConfig(path=path))[1] == first
    assert not looks
    tar(path / "000001.tar", [("x.jpg", encoded(picture(1))), ("x.cls", b"5")])
    changed = open_data_set(DataConfig(path=path))[1]
    assert looks
    assert changed.count == 41
    assert changed.digest != first.digest


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"stamps": {}, "manifest": {}}', b"\xff"])
def test_a_damaged_note_of_the_first_look_is_made_again(foreign, cache, content):
    path, _ = foreign
    first = open_data_set(DataConfig(path=path))[1]
    (note,) = cache.glob("index-*.json")
    note.write_bytes(content)
    assert open_data_set(DataConfig(path=path))[1] == first
    assert json.loads(note.read_text())["manifest"]["layout"] == "webdataset"


@pytest.mark.parametrize("home", ["file", None])
def test_without_a_place_for_notes_each_start_looks_again(foreign, tmp_path, monkeypatch, home):
    path, _ = foreign
    first = open_data_set(DataConfig(path=path))[1]
    if home:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    else:
        monkeypatch.setattr("distgan.data.location.cache_home", lambda: None)
    assert open_data_set(DataConfig(path=path))[1] == first


def test_a_list_in_braces_and_a_single_file_name_shards(foreign):
    path, _ = foreign
    assert open_data_set(DataConfig(path=f"{path}/{{000000..000001}}.tar"))[1].count == 40
    assert open_data_set(DataConfig(path=path / "000002.tar"))[1].count == 20
    assert named_shards("/d/x") is None
    with pytest.raises(DataError, match=r"its shards lie in several directories \(/a and /b\)"):
        named_shards("/{a,b}/1.tar")
    with pytest.raises(DataError, match="its braces do not close"):
        named_shards("/d/{0..9.tar")


def test_images_of_other_sizes_are_resized_on_the_way_or_refused_in_one_sentence(tmp_path):
    images = [picture(0, 20, 10), picture(1, 9, 18), picture(2, 16)]
    members = [(f"{i}.png", encoded(image, "png")) for i, image in enumerate(images)]
    tar(tmp_path / "mixed" / "0.tar", members)
    with pytest.raises(
        DataError, match=r"mixed: its images have several sizes \(0\.tar/0 is 20x10, 0\.tar/1 is 9x18\); set data\.size"
    ):
        open_data_set(DataConfig(path=tmp_path / "mixed"))
    for fit in ("crop", "pad", "stretch"):
        _, selection = open_data(DataConfig(path=tmp_path / "mixed", size=16, fit=fit))
        assert first_images(selection, 3).shape == (3, 3, 16, 16)
    _, selection = open_data(DataConfig(path=tmp_path / "mixed", size=8, fit="crop"))
    middle = images[0].resize((8, 8), 1, box=(5, 0, 15, 10))
    np.testing.assert_array_equal(first_images(selection, 1)[0], np.asarray(middle).transpose(2, 0, 1))


def test_gray_images_are_one_channel_if_that_is_asked_for(tmp_path):
    content = [encoded(picture(i, 16, mode="L"), "png") for i in range(4)]
    tar(tmp_path / "gray" / "0.tar", [(f"{i}.png", data) for i, data in enumerate(content)])
    _, selection = open_data(DataConfig(path=tmp_path / "gray", channels="gray"))
    np.testing.assert_array_equal(first_images(selection, 4)[:, 0], np.stack([pixels(data, "L") for data in content]))
    _, selection = open_data(DataConfig(path=tmp_path / "gray"))
    assert first_images(selection, 4).shape == (4, 3, 16, 16)


def test_a_data_set_of_distgan_is_not_read_as_another_one(tmp_path):
    make(tmp_path / "own", 40)
    assert open_data_set(DataConfig(path=tmp_path / "own", size=32, channels="rgb"))[1].count == 40
    with pytest.raises(
        DataError, match=r"data\.size=64: .*own was made by `distgan prepare` with size 32; leave data\.size"
    ):
        open_data_set(DataConfig(path=tmp_path / "own", size=64))
    with pytest.raises(DataError, match=r"data\.channels=gray: .* with channels rgb"):
        open_data_set(DataConfig(path=tmp_path / "own", channels="gray"))


def test_a_damaged_image_is_met_when_it_is_shown_by_the_rules_of_all_images(foreign):
    path, content = foreign
    members = [(f"{i}.jpg", data if i != 3 else data[: len(data) // 2]) for i, (data, _) in enumerate(content[:24])]
    tar(path / "000000.tar", members)
    shutil.rmtree(path / "x", ignore_errors=True)
    for name in ("000001.tar", "000002.tar"):
        os.remove(path / name)
    with pytest.raises(DataError, match=r"image 000000\.tar/3 cannot be decoded"):
        batches(DataConfig(path=path, mode="stream"), 2)
    images = torch.cat([batch.images for batch in batches(DataConfig(path=path, mode="stream", on_error="skip"), 2)])
    assert len(images) == 24


@pytest.mark.parametrize(
    ("members", "config", "sentence"),
    [
        ([("1.txt", b"x")], {}, "holds no image that can be read"),
        ([("1.jpg", b"no image")], {}, "none of its images can be read"),
        ([(f"{i}.cls", b"0") for i in range(3)], {}, "holds no image that can be read"),
        ([("1.png", b"x"), ("1.cls", b"a"), ("2.png", b"x")], {}, r"0\.tar/2\.cls is missing"),
        ([("1.png", b"x")], {"label": "json:a"}, r"0\.tar/1\.json is missing, and it holds the class"),
        ([(f"{i}.{e}", b"x" if e == "png" else b"%d" % i) for i in range(10_001) for e in ("png", "cls")], {},
         "more than 10,000 different values of cls"),
    ],
)  # fmt: skip
def test_shards_that_cannot_be_trained_on_are_one_sentence(tmp_path, members, config, sentence):
    tar(tmp_path / "bad" / "0.tar", members)
    with pytest.raises(DataError, match=sentence):
        open_data_set(DataConfig(path=tmp_path / "bad", **config))


def test_a_file_that_is_no_tar_and_a_name_that_cannot_be_kept_are_one_sentence(tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "0.tar").write_bytes(b"x" * 2000)
    with pytest.raises(DataError, match=r"shard .*0\.tar is damaged or no tar file \(bad checksum\)|invalid header"):
        open_data_set(DataConfig(path=tmp_path / "bad"))
    (tmp_path / "bad" / "0.tar").rename(tmp_path / "bad" / "ö.tar")
    with pytest.raises(DataError, match=r"a shard's name has letters, digits"):
        open_data_set(DataConfig(path=tmp_path / "bad"))


def test_shards_on_a_web_server_are_named_by_a_list(foreign, tmp_path):
    path, content = foreign
    with serve(path) as server:
        with pytest.raises(
            DataError, match=r"404 .*; a web server does not list its files: name shards of another maker"
        ):
            open_data_set(DataConfig(path=server.url))
        config = DataConfig(path=f"{server.url}/{{000000..000002}}.tar", cache=tmp_path / "shards")
        _, selection = open_data(config)
        expected = np.stack([pixels(data) for data, _ in content]).transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(first_images(selection, 60), expected)
        assert [server.requests[f"00000{i}.tar"] for i in range(3)] == [1, 1, 1]  # the first look fills the cache
        server.faults = {"000000.tar": [500]}
        config = DataConfig(path=f"{server.url}/{{000000..000000}}.tar", tries=2)
        assert open_data_set(config)[1].count == 20
