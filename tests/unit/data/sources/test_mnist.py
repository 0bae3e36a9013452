"""idx files: MNIST and the two that look like it, from a directory or downloaded."""

import gzip
import hashlib
import struct
from dataclasses import replace

import numpy as np
import pytest

import distgan
from distgan.data.prepare import Request, prepare
from distgan.data.remote.store import RemoteStore
from distgan.data.sources import mnist
from distgan.data.sources.mnist import PUBLISHED, Mnist
from distgan.data.sources.official import Archive
from distgan.utils.errors import DataError
from tests.support.http_server import serve
from tests.support.image_files import noise
from tests.support.needs import FASHION

IMAGES, LABELS = noise(20, 28, 28), np.arange(20, dtype=np.uint8) % 10


def idx(array):
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def put(folder, pack=False, split="train", images=IMAGES, labels=LABELS):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in ((f"{split}-images-idx3-ubyte", images), (f"{split}-labels-idx1-ubyte", labels)):
        content = idx(array)
        (folder / (f"{name}.gz" if pack else name)).write_bytes(gzip.compress(content) if pack else content)
    return folder


def read_all(source, split="train", classes=None):
    offer = source.offer(split, classes)
    images = offer.load(False)
    return offer, images, np.stack(images.read(np.arange(len(images.keys))))


@pytest.mark.parametrize("pack", [False, True])
def test_the_pixels_lie_unchanged_in_a_black_border(tmp_path, pack):
    offer, images, pixels = read_all(Mnist(put(tmp_path / "a", pack)))
    assert (offer.size, offer.channels, offer.classes) == (32, 1, tuple("0123456789"))
    np.testing.assert_array_equal(pixels[:, 2:30, 2:30, 0], IMAGES)
    assert pixels.sum() == IMAGES.sum()
    assert images.labels.tolist() == LABELS.tolist()
    assert images.sizes == {(28, 28): 20}


def test_torchvisions_folder_other_names_splits_and_classes(tmp_path):
    put(tmp_path / "root" / "FashionMNIST" / "raw", split="t10k")
    source = Mnist(tmp_path / "root", variant="fashion", size=28, channels="rgb")
    offer, images, pixels = read_all(source, "test", ("Bag", "Dress"))
    assert offer.classes == ("Dress", "Bag")
    np.testing.assert_array_equal(pixels, np.repeat(IMAGES[[3, 8, 13, 18], ..., None], 3, 3))
    assert images.labels.tolist() == [0, 1, 0, 1]
    assert images.notes == ["4 grey image(s) were made RGB; --channels gray keeps one channel"]
    put(tmp_path / "fashion")
    _, images, _ = read_all(Mnist(tmp_path / "fashion"))
    assert images.notes == [f"the classes were called 0 ... 9; --variant fashion calls them as in {tmp_path}/fashion"]
    for file in put(tmp_path / "kaggle").iterdir():
        file.rename(file.with_name(file.name.replace("-idx", ".idx")))
    assert len(read_all(Mnist(tmp_path / "kaggle"))[2]) == 20


@pytest.mark.parametrize("pack", [False, True])
def test_files_of_another_variant_are_refused_by_its_name(tmp_path, monkeypatch, pack):
    folder = put(tmp_path / "a", pack=True)
    checksum = hashlib.md5((folder / "train-labels-idx1-ubyte.gz").read_bytes()).hexdigest()
    if not pack:
        put(folder)  # as torchvision has them, beside the packed ones
    files = {"train-labels-idx1-ubyte": Archive("train-labels-idx1-ubyte.gz", 1000, checksum)}
    monkeypatch.setitem(PUBLISHED, "mnist", replace(PUBLISHED["mnist"], files=files))
    with pytest.raises(DataError, match=r"labels-idx1-ubyte\.gz is a file of mnist, not of fashion; pass --variant mn"):
        Mnist(folder, variant="fashion").offer("train", None)
    assert Mnist(folder).offer("train", None).classes == tuple("0123456789")


def test_the_call_makes_the_data_set(tmp_path):
    manifest = distgan.prepare("mnist", tmp_path / "out", archive=put(tmp_path / "a"), progress=False)
    assert (manifest.count, manifest.channels, manifest.request["variant"]) == (20, 1, "mnist")


REFUSED = [
    (b"", "is not an idx file of 3-dimensional bytes"),
    (idx(IMAGES)[:-1], "is damaged: .* bytes follow a head that says"),
    (bytes((0, 0, 8, 3)) + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1), "is damaged: 0 bytes follow a head"),
    (bytes((0, 0, 8, 3)) + struct.pack(">3I", 0, 0, 0), "is damaged: 0 bytes follow a head"),
    (bytes((0, 0, 13, 3)) + bytes(12), "is not an idx file"),
    (gzip.compress(idx(IMAGES))[:-9], "is damaged or cut short"),
    (gzip.compress(bytes(1 << 20)), "is not an idx file"),
    (idx(IMAGES[:5]), "holds 5 images, and .* 20 labels"),
]


@pytest.mark.parametrize(("content", "sentence"), REFUSED, ids=[case[1] for case in REFUSED])
def test_a_damaged_file_is_one_sentence(tmp_path, content, sentence):
    (put(tmp_path) / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        Mnist(tmp_path).offer("train", None).load(False)


def test_missing_files_wrong_labels_and_files_without_end_are_told_apart(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="holds no t10k-images-idx3-ubyte, packed with gzip or not; give the directory"):
        Mnist(put(tmp_path)).offer("test", None)
    with pytest.raises(DataError, match="holds no train-images-idx3-ubyte, .*: it is no directory"):
        Mnist(tmp_path / ("a" * 5000)).offer("train", None)
    put(tmp_path, labels=LABELS + 1)
    with pytest.raises(DataError, match="holds no label, or one above 9; --variant is mnist"):
        Mnist(tmp_path).offer("train", None).load(False)
    put(tmp_path, labels=LABELS % 9)
    with pytest.raises(DataError, match="holds no train image of class 9; leave it out with --classes"):
        Mnist(tmp_path).offer("train", None).load(False)
    monkeypatch.setattr(mnist, "MAX_BYTES", 1000)
    with pytest.raises(DataError, match="unpacks to more than 1,000 bytes"):
        Mnist(tmp_path).offer("train", None)


def test_a_download_is_checked_and_kept(tmp_path):
    served = put(tmp_path / "served", pack=True)
    official = {
        path.name.removesuffix(".gz"): Archive(
            path.name, path.stat().st_size, hashlib.md5(path.read_bytes()).hexdigest()
        )
        for path in served.iterdir()
    }
    with serve(served) as server:
        store = RemoteStore(server.url, tries=1)
        source = Mnist(None, download_dir=tmp_path / "downloads", store=store, official=official)
        for _ in range(2):
            _, _, pixels = read_all(source)
            np.testing.assert_array_equal(pixels[:, 2:30, 2:30, 0], IMAGES)
        assert sum(server.requests.values()) == 2
        wrong = {name: Archive(each.name, each.size, "0" * 32) for name, each in official.items()}
        with pytest.raises(DataError, match="its MD5 is .*, it should be 0000.*--from PATH"):
            Mnist(None, download_dir=tmp_path / "d", store=store, official=wrong).offer("train", None).load(False)


def test_every_variant_has_the_files_of_both_splits():
    for published in PUBLISHED.values():
        assert len(published.classes) == 10
        assert [each.name for each in published.files.values()] == [f"{name}.gz" for name in published.files]
        assert len({each.md5 for each in published.files.values()}) == 4


@pytest.mark.needs("fashion")
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_real_fashion_mnist_is_not_taken_for_another_variant(split):
    for variant in ("mnist", "kmnist"):
        with pytest.raises(DataError, match=rf"is a file of fashion, not of {variant}; pass --variant fashion"):
            Mnist(FASHION, variant=variant).offer(split, None)


@pytest.mark.needs("fashion")
def test_the_real_fashion_mnist_of_debian_is_read(tmp_path):
    manifest = prepare(Request(tmp_path / "out", Mnist(FASHION, variant="fashion"), split="test"), progress=False)
    assert manifest.count == 10_000
    assert set(manifest.class_counts.values()) == {1000}
    with gzip.open(FASHION / "t10k-images-idx3-ubyte.gz") as file:
        raw = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    pixels = read_all(Mnist(FASHION, variant="fashion"), "test")[2]
    np.testing.assert_array_equal(pixels[:, 2:30, 2:30, 0], raw)
