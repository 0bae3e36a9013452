"""`data.path` to shards and manifest: distgan's own data sets, and shards of any maker."""

import errno
import json
import os
import shutil

import numpy as np
import pytest
import torch

from distgan.config.schema import DataConfig
from distgan.data import first_look
from distgan.data.dataset import ImageDataset
from distgan.data.location import named_shards, open_data_set
from distgan.data.reference import open_data
from distgan.data.shards.index import read_content
from distgan.data.shards.reader import first_images, read_pieces
from distgan.data.shards.selection import select_shards
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
    np.testing.assert_array_equal(first_images(selection, 60)[0], expected)


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
    real = first_look.index_shards
    monkeypatch.setattr(first_look, "index_shards", lambda *args: looks.append(1) or real(*args))
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
        monkeypatch.setattr(first_look, "cache_home", lambda: None)
    assert open_data_set(DataConfig(path=path))[1] == first


def test_a_list_in_braces_and_a_single_file_name_shards(foreign):
    path, _ = foreign
    assert open_data_set(DataConfig(path=f"{path}/{{000000..000001}}.tar"))[1].count == 40
    assert open_data_set(DataConfig(path=path / "000002.tar"))[1].count == 20
    assert named_shards("/d/x") is None
    with pytest.raises(DataError, match=r"braces stand for the names of shards in one directory"):
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
        assert first_images(selection, 3)[0].shape == (3, 3, 16, 16)
    _, selection = open_data(DataConfig(path=tmp_path / "mixed", size=8, fit="crop"))
    middle = images[0].resize((8, 8), 1, box=(5, 0, 15, 10))
    np.testing.assert_array_equal(first_images(selection, 1)[0][0], np.asarray(middle).transpose(2, 0, 1))


def test_gray_images_are_one_channel_if_that_is_asked_for(tmp_path):
    content = [encoded(picture(i, 16, mode="L"), "png") for i in range(4)]
    tar(tmp_path / "gray" / "0.tar", [(f"{i}.png", data) for i, data in enumerate(content)])
    _, selection = open_data(DataConfig(path=tmp_path / "gray", channels="gray"))
    np.testing.assert_array_equal(
        first_images(selection, 4)[0][:, 0], np.stack([pixels(data, "L") for data in content])
    )
    _, selection = open_data(DataConfig(path=tmp_path / "gray"))
    assert first_images(selection, 4)[0].shape == (4, 3, 16, 16)


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
        ([(f"{i}.cls", b"0") for i in range(3)], {"label": "cls"}, "holds no image that can be read"),
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
    with pytest.raises(DataError, match=r"rename it; a shard's name has up to 200 letters"):
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
        np.testing.assert_array_equal(first_images(selection, 60)[0], expected)
        assert [server.requests[f"00000{i}.tar"] for i in range(3)] == [1, 1, 1]  # the first look fills the cache
        server.faults = {"000000.tar": [500]}
        config = DataConfig(path=f"{server.url}/{{000000..000000}}.tar", tries=2)
        assert open_data_set(config)[1].count == 20


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        ([("readme.txt", b"x")], None),  # a shard without an image decides nothing
        ([("0.png", "image")], [("1.png", "image"), ("1.cls", b"3")]),
        ([("0.png", "image"), ("1.png", "image"), ("0.cls", b"1"), ("1.cls", b"2")], None),
    ],
)
def test_classes_that_are_there_are_never_left_out_in_silence(tmp_path, first, rest):
    image = encoded(picture(0), "png")
    labelled = [("1.png", image), ("1.cls", b"3"), ("2.png", image), ("2.cls", b"4")]
    for name, members in (("0.tar", first), ("1.tar", labelled if rest is None else rest)):
        tar(tmp_path / "in" / name, [(file, image if data == "image" else data) for file, data in members])
    if first[0][0] == "readme.txt":
        assert open_data_set(DataConfig(path=tmp_path / "in"))[1].classes == ("3", "4")
    else:
        with pytest.raises(
            DataError, match=r"holds \d \.cls file\(s\), and the first image of .* has none beside it; set label"
        ):
            open_data_set(DataConfig(path=tmp_path / "in"))
        assert open_data_set(DataConfig(path=tmp_path / "in", label="none"))[1].classes == ("images",)


def test_some_shards_of_a_data_set_of_distgan_keep_its_classes(tmp_path):
    make(tmp_path / "own", 120)
    whole = open_data_set(DataConfig(path=tmp_path / "own"))[1]
    for path in (tmp_path / "own" / "train-000001.tar", f"{tmp_path}/own/train-{{000001..000001}}.tar"):
        some = open_data_set(DataConfig(path=path))[1]
        assert (some.classes, some.shards) == (whole.classes, whole.shards[1:2])
    with pytest.raises(DataError, match=r"data\.label=none: .* which chose the classes; leave data\.label out"):
        open_data_set(DataConfig(path=tmp_path / "own", label="none"))
    with pytest.raises(DataError, match=r"data\.fit=pad: .* leave data\.fit out, or make it again with --fit pad"):
        open_data_set(DataConfig(path=tmp_path / "own", fit="pad"))


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/d/{08..11}.tar", ["08.tar", "09.tar", "10.tar", "11.tar"]),
        ("/d/{8..11}.tar", ["8.tar", "9.tar", "10.tar", "11.tar"]),
        ("/d/{2..0}.tar", ["2.tar", "1.tar", "0.tar"]),
        ("/d/{a,b}-{0..1}.tgz", ["a-0.tgz", "a-1.tgz", "b-0.tgz", "b-1.tgz"]),
        ("x.tar.gz", ["x.tar.gz"]),
    ],
)
def test_braces_stand_for_what_they_do_in_a_shell(path, names):
    assert named_shards(path) == (path.rpartition("/")[0] or ".", tuple(names))


@pytest.mark.parametrize(
    "path", ["/d/{0..2000000}.tar", "/d/{0..99999999}{0..99999999}.tar", "/d/" + "{" * 3000 + ".tar"]
)
def test_a_list_that_would_fill_the_memory_is_refused(path):
    with pytest.raises(DataError, match=r"more than 1,000,000 shards|its braces do not close"):
        named_shards(path)


def test_what_was_found_is_said_at_each_start_by_one_process(tmp_path, caplog):
    content = [("1.jpg", encoded(picture(1, mode="L"))), ("1.txt", b"caption")]
    tar(tmp_path / "in" / "0.tar", content)
    for _ in range(2):
        caplog.clear()
        with caplog.at_level("INFO", logger="distgan"):
            open_data_set(DataConfig(path=tmp_path / "in"), notes=True)
        assert "passed over, as neither image nor label: 1 x .txt" in caplog.text
        assert "1 gray image(s) are made RGB; data.channels=gray trains on one channel" in caplog.text
    caplog.clear()
    open_data_set(DataConfig(path=tmp_path / "in"))
    assert caplog.text == ""


def test_shards_of_many_sizes_are_looked_at_in_little_memory(tmp_path):
    members = [(f"{i}.png", encoded(picture(0, 4 + i % 40, 4 + i // 40), "png")) for i in range(400)]
    tar(tmp_path / "in" / "0.tar", members)
    assert len(read_content(tmp_path / "in", "0.tar", "none").sizes) == 2
    assert open_data_set(DataConfig(path=tmp_path / "in", size=8))[1].count == 400


def test_a_missing_shard_and_a_directory_of_its_name_are_told_as_such(tmp_path):
    tar(tmp_path / "in" / "0.tar", [("1.png", encoded(picture(0), "png"))])
    with pytest.raises(DataError, match=r"shard .*/1\.tar is missing; correct the list of shards"):
        open_data_set(DataConfig(path=f"{tmp_path}/in/{{0..1}}.tar"))
    (tmp_path / "in" / "1.tar").mkdir()
    with pytest.raises(DataError, match=r"shard .*/1\.tar cannot be read: (not a regular file|Is a directory)"):
        open_data_set(DataConfig(path=f"{tmp_path}/in/{{0..1}}.tar"))


@pytest.mark.parametrize("refusing", ["os.listdir", "pathlib.Path.exists"])
def test_a_directory_that_may_not_be_read_is_one_sentence(foreign, monkeypatch, refusing):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(refusing, refuse)  # root may read everything
    with pytest.raises(DataError, match=f"^{foreign[0]} cannot be read: Permission denied$"):
        open_data_set(DataConfig(path=foreign[0]))


def test_a_shard_that_changed_after_the_first_look_is_not_called_one_of_distgan_s(foreign):
    path, _ = foreign
    location, manifest = open_data_set(DataConfig(path=path))
    tar(path / "000000.tar", [("1.jpg", encoded(picture(5))), ("1.cls", b"0")])
    selection = select_shards(location, manifest, None)
    with pytest.raises(DataError, match=r"it is not as at the first look: get the old one again|its manifest says"):
        list(read_pieces(selection, selection.shards[0]))
