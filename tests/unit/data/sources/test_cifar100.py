"""CIFAR-100: both versions of the archive, fine and coarse labels; what both CIFARs share is in test_cifar10.py."""

import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest

import distgan
from distgan.data.remote.store import RemoteStore
from distgan.data.sources.cifar10 import Cifar10
from distgan.data.sources.cifar100 import COARSE, FINE, KIND, Cifar100
from distgan.data.sources.official import Archive
from distgan.utils.errors import DataError
from tests.support.http_server import serve

COUNT = 200
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, 3072), dtype=np.uint8)
FINE_LABELS, COARSE_LABELS = np.arange(COUNT) % 100, np.arange(COUNT) % 20


def records():
    labels = np.stack([COARSE_LABELS, FINE_LABELS], 1).astype(np.uint8)
    return np.concatenate([labels, PIXELS], 1).tobytes()


def pickled(protocol=2):
    names = [f"image_{i}.png".encode() for i in range(COUNT)]
    batch = {b"data": PIXELS, b"fine_labels": FINE_LABELS.tolist(), b"coarse_labels": COARSE_LABELS.tolist()}
    return pickle.dumps({**batch, b"filenames": names, b"batch_label": b"training batch 1 of 1"}, protocol)


def archive(path, members):
    with tarfile.open(path, "w:gz") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def write(place, version, folder):
    """The train split as an archive, or unpacked as torchvision does."""
    name, content = ("train.bin", records()) if version == "bin" else ("train", pickled())
    inside = f"{KIND.folders[version]}/{name}"
    if not folder:
        return archive(place / "cifar.tar.gz", {inside: content, f"{KIND.folders[version]}/meta": b"x"})
    (place / inside).parent.mkdir(parents=True)
    (place / inside).write_bytes(content)
    return place


@pytest.mark.parametrize("version", ["bin", "py"])
@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("labels", ["fine", "coarse"])
def test_both_versions_packed_or_not_give_every_pixel_and_either_label(tmp_path, version, folder, labels):
    offer = Cifar100(write(tmp_path, version, folder), labels=labels).offer("train", None)
    assert offer.classes == (FINE if labels == "fine" else COARSE)
    images = offer.load(False)
    assert images.labels.tolist() == (FINE_LABELS if labels == "fine" else COARSE_LABELS).tolist()
    expected = PIXELS.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(np.stack(images.read(np.arange(COUNT))), expected)
    assert images.notes[0].endswith("of the official 50,000 train images")
    assert offer.request["labels"] == labels


def test_the_names_are_those_of_the_official_archive():
    assert (len(FINE), len(set(FINE)), list(FINE)) == (100, 100, sorted(FINE))
    assert (len(COARSE), len(set(COARSE)), list(COARSE)) == (20, 20, sorted(COARSE))


def test_the_call_makes_the_data_set_of_some_classes(tmp_path):
    path = write(tmp_path, "bin", folder=False)
    options = {"archive": path, "labels": "coarse", "classes": ["fish", "trees"], "progress": False}
    manifest = distgan.prepare("cifar100", tmp_path / "out", **options)
    assert (manifest.classes, manifest.count) == (("fish", "trees"), 20)
    with pytest.raises(DataError, match="prepare cifar100: labels=all"):
        distgan.prepare("cifar100", tmp_path / "b", archive=path, labels="all")


def test_the_archive_is_downloaded_with_its_checksum(tmp_path):
    path = write(tmp_path, "bin", folder=False)
    content = path.read_bytes()
    official = (Archive("cifar.tar.gz", len(content), hashlib.md5(content).hexdigest()),)
    with serve(tmp_path) as server:
        source = Cifar100(None, tmp_path / "downloads", RemoteStore(server.url, tries=1), official)
        assert len(source.offer("train", None).load(False).keys) == COUNT


def test_a_directory_that_holds_only_the_official_archive_is_read(tmp_path):
    path = write(tmp_path, "py", folder=False)
    official = (Archive(path.name, 1, "0" * 32),)
    offer = Cifar100(tmp_path, official=official).offer("train", None)
    assert len(offer.load(False).keys) == COUNT


def test_records_and_pickles_that_do_not_fit_are_refused(tmp_path):
    (tmp_path / "train.bin").write_bytes(records()[:-1])
    with pytest.raises(DataError, match="are not a whole number of 3074-byte records"):
        Cifar100(tmp_path).offer("train", None).load(False)
    (tmp_path / "train.bin").write_bytes(bytes([20, 0]) + bytes(3072))
    with pytest.raises(DataError, match="record 0 has a label above 19"):
        Cifar100(tmp_path, labels="coarse").offer("train", None).load(False)
    (tmp_path / "train.bin").unlink()
    (tmp_path / "train").write_bytes(pickle.dumps({b"data": PIXELS, b"labels": FINE_LABELS.tolist()}, 2))
    with pytest.raises(DataError, match="is not a CIFAR-100 batch: it needs 'data' .* and 'fine_labels'"):
        Cifar100(tmp_path).offer("train", None).load(False)


def test_kaggles_and_parquet_files_are_shown_the_way(tmp_path):
    (tmp_path / "trainLabels.csv").write_text("id,label\n1,frog\n")
    with pytest.raises(
        DataError, match=r"holds no CIFAR-10 train batches .*; Kaggle's images .* `distgan prepare folder"
    ):
        Cifar10(tmp_path).offer("train", None).load(False)
    (tmp_path / "trainLabels.csv").rename(tmp_path / "train.parquet")
    with pytest.raises(DataError, match="parquet files are read by `distgan prepare hf"):
        Cifar100(tmp_path).offer("train", None).load(False)


def test_a_name_that_is_too_long_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="cannot be read: File name too long"):
        Cifar100(tmp_path / ("a" * 5000)).offer("train", None)
