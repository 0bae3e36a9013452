"""Zip files: StyleGAN's layout and any other, read in place; whatever is unsafe is one sentence."""

import io
import json
import os
import stat
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

import distgan
from distgan.data.prepare import Request, prepare
from distgan.data.sources import zip_file
from distgan.data.sources.zip_file import Zip
from distgan.utils.errors import DataError
from distgan.utils.log import show_on_terminal
from tests.support.image_files import noise


def png(pixels, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def packed(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def read_all(source, split="train", classes=None):
    offer = source.offer(split, classes)
    images = offer.load(False)
    return offer, images, images.read(np.arange(len(images.keys)))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_of_class_folders_gives_what_pillow_decodes(tmp_path, method):
    pictures = {f"{name}/{i}.png": noise(32, 32, 3, seed=i) for name in ("dog", "cat") for i in range(3)}
    path = packed(tmp_path / "a.zip", {name: png(pixels) for name, pixels in pictures.items()}, method)
    offer, images, read = read_all(Zip(path))
    assert offer.classes == ("cat", "dog")
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1]
    for pixels, name in zip(read, sorted(pictures), strict=True):
        np.testing.assert_array_equal(pixels, pictures[name])


def test_stylegans_layout_gives_the_classes_of_its_dataset_json(tmp_path):
    names = [f"00000/img{i:08d}.png" for i in range(12)]
    labels = [[name, 11 - i] for i, name in enumerate(names)]
    members = {name: png(noise(8, 8, 3, seed=i)) for i, name in enumerate(names)}
    path = packed(tmp_path / "a.zip", {**members, "dataset.json": json.dumps({"labels": labels})})
    offer, images, read = read_all(Zip(path, size=8))
    assert offer.classes == tuple(map(str, range(12)))
    np.testing.assert_array_equal(read[11], noise(8, 8, 3, seed=0))
    assert images.labels.tolist() == list(range(12))
    path = packed(tmp_path / "b.zip", {**members, "dataset.json": json.dumps({"labels": None})})
    assert read_all(Zip(path, size=8))[0].classes == ("images",)


def test_a_damaged_dataset_json_is_one_sentence(tmp_path):
    for content, reason in (
        ("{", "is not a table of labels"),
        ("[]", r"it needs labels, a list of \[file name, class number\]"),
        ('{"labels": [["a.png", -1]]}', "'a.png': -1 is not a file name with a class number"),
        ('{"labels": [["a.png"]]}', "it needs labels"),
    ):
        path = packed(tmp_path / "a.zip", {"a.png": png(noise(8, 8, 3)), "dataset.json": content})
        with pytest.raises(DataError, match=reason):
            Zip(path).offer("train", None)


def test_what_macos_adds_is_ignored_and_its_names_are_read_as_utf_8(tmp_path):
    path = packed(
        tmp_path / "a.zip",
        {
            "set/cat/1.png": png(noise(8, 8, 3)), "__MACOSX/set/cat/._1.png": b"junk", "set/.DS_Store": b"junk",
            "set/café/1.png": png(noise(8, 8, 3)),
        },
    )  # fmt: skip
    content = path.read_bytes()
    flagged = struct.pack("<H", 0x800)
    path.write_bytes(
        content.replace(b"PK\x03\x04\x14\x00" + flagged, b"PK\x03\x04\x14\x00\0\0").replace(
            b"PK\x01\x02\x14\x03\x14\x00" + flagged, b"PK\x01\x02\x14\x03\x14\x00\0\0"
        )
    )
    assert Zip(path).offer("train", None).classes == ("café", "cat")


def test_splits_in_a_zip_and_the_same_options_as_for_a_folder(tmp_path):
    members = {f"{split}/{name}": png(noise(40, 20)) for split in ("train", "test") for name in ("a_1.png", "b_2.png")}
    path = packed(tmp_path / "a.zip", members)
    assert Zip(path).offer("test", None).classes == ("images",)
    offer, images, read = read_all(Zip(path, label_pattern="([ab])_", channels="gray", fit="pad", size=40), "test")
    assert (offer.classes, offer.channels, read[0].shape) == (("a", "b"), 1, (40, 40, 1))
    np.testing.assert_array_equal(read[0][:, 10:30, 0], noise(40, 20))
    assert images.sizes == {(20, 40): 2}


def test_the_call_makes_the_data_set_and_says_what_it_took(tmp_path, capsys):
    show_on_terminal()
    path = packed(tmp_path / "a.zip", {f"{i}.png": png(noise(8, 8, 3)) for i in range(5)} | {"readme.txt": b"hello"})
    manifest = distgan.prepare("zip", tmp_path / "out", archive=path, size=8, progress=False)
    assert (manifest.count, manifest.classes, manifest.source) == (5, ("images",), "zip")
    error = capsys.readouterr().err
    assert "1 file(s) in" in error
    assert "a.zip: 1 class (no class folders): images (5 images)" in error


def test_the_request_changes_with_the_content_of_a_member(tmp_path):
    before = Zip(packed(tmp_path / "a.zip", {"1.png": png(np.zeros((8, 8, 3), np.uint8))})).offer("train", None).request
    same = Zip(packed(tmp_path / "b.zip", {"1.png": png(np.zeros((8, 8, 3), np.uint8))})).offer("train", None).request
    other = Zip(packed(tmp_path / "c.zip", {"1.png": png(np.ones((8, 8, 3), np.uint8))})).offer("train", None).request
    assert before == same != other


def test_a_link_in_a_zip_is_left_out(tmp_path, capsys):
    show_on_terminal()
    path = packed(tmp_path / "a.zip", {"a.png": png(noise(8, 8, 3))})
    link = zipfile.ZipInfo("b.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert len(read_all(Zip(path))[2]) == 1
    assert "1 link(s) in" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "x/../../a.png", "C:/a.png", "..\\a.png"])
def test_a_name_that_points_outside_is_refused(tmp_path, name):
    with pytest.raises(DataError, match=r"a\.zip is not safe: member .* points outside it"):
        Zip(packed(tmp_path / "a.zip", {name: b"x"})).offer("train", None)


def changed(path, offset, value):
    """Changes the list of members: `value` at `offset` in the first entry."""
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02") + offset
    content[at : at + len(value)] = value
    path.write_bytes(content)
    return path


def test_encrypted_nested_packed_and_damaged_archives_are_told_apart(tmp_path):
    good = {"a.png": png(noise(8, 8, 3))}
    with pytest.raises(DataError, match=r"a\.zip is encrypted; unpack it with its password and give the directory"):
        Zip(changed(packed(tmp_path / "a.zip", good), 8, b"\1\0")).offer("train", None)
    inner = packed(tmp_path / "inner.zip", good).read_bytes()
    with pytest.raises(DataError, match=r"holds no image but the archive inner\.zip, which is not opened"):
        Zip(packed(tmp_path / "b.zip", {"inner.zip": inner})).offer("train", None)
    source = Zip(packed(tmp_path / "c.zip", good, zipfile.ZIP_BZIP2))
    _, images, read = read_all(source)
    assert read == [None]
    with pytest.raises(DataError, match=r"c\.zip/a\.png cannot be read \(it is packed by method 12"):
        images.finish()
    (tmp_path / "d.zip").write_bytes(inner[:-30])
    with pytest.raises(DataError, match=r"d\.zip is not a zip file, or is damaged"):
        Zip(tmp_path / "d.zip").offer("train", None)
    with pytest.raises(DataError, match=r"nowhere\.zip cannot be read: No such file"):
        Zip(tmp_path / "nowhere.zip").offer("train", None)
    os.mkfifo(tmp_path / "pipe.zip")
    with pytest.raises(DataError, match="not a regular file"):
        Zip(tmp_path / "pipe.zip").offer("train", None)


def test_a_member_whose_bytes_are_damaged_is_named_and_may_be_left_out(tmp_path):
    path = packed(tmp_path / "a.zip", {"a.png": png(noise(8, 8, 3)), "b.png": png(noise(8, 8, 3))})
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.zip/a\.png cannot be read \(its bytes are damaged\); .*--skip-bad"):
        prepare(Request(tmp_path / "out", Zip(path)), progress=False)
    assert prepare(Request(tmp_path / "out", Zip(path, skip_bad=True)), progress=False).count == 1


def test_bombs_are_refused_before_anything_is_unpacked(tmp_path, monkeypatch):
    good = {"a.png": png(noise(8, 8, 3))}
    with pytest.raises(DataError, match="is not safe: its .* bytes say that they unpack to 4,294,967,280"):
        Zip(changed(packed(tmp_path / "a.zip", good), 24, struct.pack("<I", 2**32 - 16))).offer("train", None)
    with pytest.raises(DataError, match="is not safe"):
        Zip(changed(packed(tmp_path / "b.zip", good), 20, struct.pack("<I", 2**20))).offer("train", None)
    monkeypatch.setattr(zip_file, "MAX_DIRECTORY_BYTES", 10)
    with pytest.raises(DataError, match="lists its members in .* bytes; 10 are the most"):
        Zip(packed(tmp_path / "c.zip", good)).offer("train", None)
    monkeypatch.undo()
    monkeypatch.setattr(zip_file, "MAX_MEMBER_BYTES", 10)
    images = Zip(packed(tmp_path / "d.zip", good)).offer("train", None).load(False)
    images.read(np.array([0]))
    with pytest.raises(DataError, match=r"d\.zip/a\.png cannot be read \(it has .* bytes; 10 are the most\)"):
        images.finish()


@pytest.mark.parametrize("offset", [2**63, 2**64 - 1, 2**40])
def test_a_member_beyond_the_end_is_one_sentence(tmp_path, offset):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("a.png", "b.png"):
            archive.writestr(name, png(noise(8, 8, 3)))
        archive.filelist[1].header_offset = offset  # written as a field of Zip64
    with pytest.raises(DataError, match=r"a\.zip is (damaged: member 'b.png' lies beyond its end|not a zip file)"):
        Zip(tmp_path / "a.zip").offer("train", None)


def test_a_colon_in_a_folder_is_part_of_its_name(tmp_path):
    path = packed(tmp_path / "a.zip", {"at 12:30/a.png": png(noise(8, 8, 3)), "at 1:05/b.png": png(noise(8, 8, 3))})
    assert Zip(path).offer("train", None).classes == ("at 12:30", "at 1:05")


def test_a_file_and_a_folder_of_the_same_name_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.zip/x is a file and a folder at the same time"):
        Zip(packed(tmp_path / "a.zip", {"x": b"1", "x/a.png": b"2"})).offer("train", None)


def test_folders_without_end_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.zip holds more than 64 folders within one another"):
        Zip(packed(tmp_path / "a.zip", {"a/" * 2000 + "x.png": b"x"})).offer("train", None)
