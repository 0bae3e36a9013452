"""`--dry-run`: what would be taken, with nothing written; `--limit`: how many."""

import numpy as np
import pytest
from PIL import Image

import distgan
from distgan.data.make import request_of
from distgan.data.prepare import Request, prepare
from distgan.data.sources.cifar10 import Cifar10
from distgan.data.sources.cifar100 import Cifar100
from distgan.data.sources.folder import Folder
from distgan.data.sources.hub import Hf
from distgan.data.sources.mnist import Mnist
from distgan.data.sources.shapes import Shapes
from distgan.data.survey import survey
from distgan.utils.errors import DataError
from tests.support.foreign import webdataset_shards
from tests.support.http_server import serve
from tests.support.image_files import noise, put
from tests.support.shards import read_pixels
from tests.unit.cli.test_prepare import _run


@pytest.fixture
def tree(tmp_path):
    for name, count in (("cat", 5), ("dog", 3)):
        for number in range(count):
            put(tmp_path / "set" / name / f"{number}.png", noise(8, 8 + number, 3, seed=number))
    (tmp_path / "set" / "cat" / "bad.png").write_bytes(b"hello")
    put(tmp_path / "set" / "dog" / "grey.png", noise(8, 8))
    return tmp_path / "set"


def test_it_counts_what_prepare_would_write_and_writes_nothing(tmp_path, tree):
    found = survey(Request(tmp_path / "out", Folder(tree, skip_bad=True)), progress=False)
    assert found.counts == {"cat": 5, "dog": 4}
    assert found.left_out == 1
    assert found.sizes == {(8, 8): 3, (9, 8): 2, (10, 8): 2, (11, 8): 1, (12, 8): 1}
    assert "1 grey image(s) were made RGB; --channels gray keeps one channel" in found.notes
    assert not (tmp_path / "out").exists()
    made = prepare(Request(tmp_path / "out", Folder(tree, skip_bad=True)), progress=False)
    assert made.class_counts == found.counts
    assert survey(Request(tmp_path / "out", Shapes(30)), progress=False).sizes == {(32, 32): 30}


def test_it_refuses_what_prepare_would(tmp_path, tree):
    with pytest.raises(DataError, match=r"cat/bad\.png is not an image that Pillow reads"):
        survey(Request(tmp_path / "out", Folder(tree)), progress=False)


def test_the_command_prints_it_and_needs_no_out(tmp_path, tree, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _run("folder", tree, "--dry-run", "--skip-bad", "--quiet", "--channels", "gray") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "folder: 9 images in 2 classes would be taken",
        "  cat: 5",
        "  dog: 4",
        "sizes there: 8x8 (3), 9x8 (2), 10x8 (2), 11x8 (1), 12x8 (1)",
        "left out: 1",
        "note: 8 colour image(s) were made grey",
        "note: 9 image(s) have a side below 32 pixels, and were enlarged",
        f"note: skipped: {tree}/cat/bad.png is not an image that Pillow reads",
        "they would become 32x32 in gray; nothing was written",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_it_says_where_files_are_kept_once_they_are(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    webdataset_shards(tmp_path / "in", count=4)
    with serve(tmp_path / "in") as server:
        for end in (f"no data set was written, but files are kept in downloads and {tmp_path}/cache/distgan/shards",
                    "nothing was written"):  # fmt: skip
            assert _run("webdataset", f"{server.url}/000000.tar", "--dry-run", "--quiet", "--size", 16) == 0
            assert capsys.readouterr().out.splitlines()[-1].endswith(f"; {end}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "downloads", "in"]


def test_every_source_that_downloads_says_where(tmp_path):
    for source in (Cifar10(download_dir=tmp_path), Cifar100(download_dir=tmp_path), Mnist(download_dir=tmp_path)):
        assert source.keeps == (tmp_path,)
    for name in ("me/birds@v1", "hf://datasets/me/birds/data/a.parquet", "hf://datasets/me/birds@v1"):
        assert [path.name for path in Hf(name).keeps] == ["datasets--me--birds"]
    assert [path.name for path in Hf("birds@v1").keeps] == ["datasets--birds"]
    for name in (f"{tmp_path}", "~", "a" * 300, "no name"):
        assert Hf(name).keeps == ()


def test_a_limit_is_a_choice_of_the_seed_or_the_first_ones(tmp_path):
    def keys(name, **options):
        manifest = prepare(Request(tmp_path / name, Shapes(200, size=32), limit=50, **options), progress=False)
        assert manifest.count == 50
        return read_pixels(tmp_path / name)

    first = keys("first", keep_order=True)
    whole = prepare(Request(tmp_path / "whole", Shapes(200), keep_order=True), progress=False)
    assert whole.count == 200
    np.testing.assert_array_equal(first, read_pixels(tmp_path / "whole")[:50])
    assert not np.array_equal(keys("a", seed=1), keys("b", seed=2))
    np.testing.assert_array_equal(keys("a", seed=1, overwrite=True), keys("c", seed=1))


def test_a_limit_is_part_of_the_request_and_may_not_lose_a_class(tmp_path):
    manifest = distgan.prepare("shapes", tmp_path / "a", count=100, limit=40, progress=False)
    assert (manifest.count, manifest.request["limit"]) == (40, 40)
    assert "limit" not in distgan.prepare("shapes", tmp_path / "b", count=100, progress=False).request
    with pytest.raises(DataError, match="holds a data set made with limit = 40, not 50"):
        distgan.prepare("shapes", tmp_path / "a", count=100, limit=50, progress=False)
    few = distgan.prepare("shapes", tmp_path / "few", count=1000, limit=10, progress=False)
    assert set(few.class_counts.values()) == {1}
    with pytest.raises(DataError, match="--limit 3 leaves class '.*' without an image; take more, or name fewer"):
        distgan.prepare("shapes", tmp_path / "c", count=100, limit=3, progress=False)
    assert distgan.prepare("shapes", tmp_path / "d", count=10, limit=99, progress=False).count == 10


def test_files_of_the_right_form_are_kept_and_others_encoded_again(tmp_path):
    kept = {
        "a.jpg": put(tmp_path / "set" / "a.jpg", noise(8, 8, 3)),
        "b.png": put(tmp_path / "set" / "b.png", noise(8, 8, 3), optimize=True),
        "c.webp": put(tmp_path / "set" / "c.webp", noise(8, 8, 3)),
    }
    exif = Image.Exif()
    exif[0x0112] = 6
    put(tmp_path / "set" / "d.jpg", noise(8, 8, 3), exif=exif)
    put(tmp_path / "set" / "e.jpg", noise(9, 8, 3))
    put(tmp_path / "set" / "f.jpg", noise(8, 8))
    put(tmp_path / "set" / "g.png", noise(8, 8, 4))
    put(tmp_path / "set" / "h.bmp", noise(8, 8, 3))
    images = Folder(tmp_path / "set", size=8, keep_format=True).offer("train", None).load(False)
    files = images.read(np.arange(8))
    for file, (name, path) in zip(files, kept.items(), strict=False):
        assert (file.data, f"{name[0]}.{file.format}") == (path.read_bytes(), name)
    assert [getattr(file, "shape", None) for file in files[3:]] == [(8, 8, 3)] * 5
    assert "5 image(s) are not of the data set's form, and were encoded as PNG" in images.finish()
    prepare(
        Request(tmp_path / "out", Folder(tmp_path / "set", size=8, keep_format=True), keep_order=True), progress=False
    )
    np.testing.assert_array_equal(read_pixels(tmp_path / "out")[0], np.asarray(Image.open(kept["a.jpg"])))


def test_a_kept_png_with_a_wrong_checksum_is_damaged(tmp_path):
    path = put(tmp_path / "set" / "a.png", noise(8, 8, 3))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png cannot be read"):
        prepare(Request(tmp_path / "out", Folder(tmp_path / "set", size=8, keep_format=True)), progress=False)


def test_keeping_formats_does_not_go_with_blocks(tmp_path, tree):
    request = request_of("folder", tmp_path / "out", {"directory": tree, "keep_format": True, "layout": "blocks"})
    with pytest.raises(DataError, match="--keep-format goes with --layout pictures; blocks hold raw pixels"):
        prepare(request, progress=False)
