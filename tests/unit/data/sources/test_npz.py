"""NumPy archives: which arrays are taken, and what is refused before it gets memory."""

import io
import zipfile

import numpy as np
import pytest

import distgan
from distgan.data.sources import npz
from distgan.data.sources.npz import Npz
from distgan.utils.errors import DataError
from tests.support.image_files import noise


def saved(path, compress=False, **arrays):
    (np.savez_compressed if compress else np.savez)(path, **arrays)
    return path


def read_all(source, split="train", classes=None):
    offer = source.offer(split, classes)
    images = offer.load(False)
    return offer, images, np.stack(images.read(np.arange(len(images.keys))))


@pytest.mark.parametrize("compress", [False, True])
def test_keras_arrays_are_found_by_split_and_equal_to_the_last_byte(tmp_path, compress):
    train, test = noise(20, 32, 32, 3), noise(10, 32, 32, 3, seed=1)
    labels = np.arange(20).reshape(-1, 1) % 3
    path = saved(tmp_path / "a.npz", compress, x_train=train, y_train=labels, x_test=test, y_test=np.zeros(10, int))
    offer, images, pixels = read_all(Npz(path))
    np.testing.assert_array_equal(pixels, train)
    assert (offer.classes, images.labels.tolist()) == (("0", "1", "2"), labels[:, 0].tolist())
    np.testing.assert_array_equal(read_all(Npz(path), "test")[2], test)
    offer, images, pixels = read_all(Npz(path), classes=("2",))
    np.testing.assert_array_equal(pixels, train[labels[:, 0] == 2])
    assert images.keys.tolist() == [2, 5, 8, 11, 14, 17]


@pytest.mark.parametrize("shape", [(6, 16, 16), (6, 16, 16, 1), (6, 1, 16, 16)])
def test_grey_images_stay_grey_or_become_rgb(tmp_path, shape):
    path = saved(tmp_path / "a.npz", images=noise(*shape))
    offer, images, pixels = read_all(Npz(path, size=16, channels="gray"))
    assert (offer.channels, offer.classes) == (1, ("images",))
    np.testing.assert_array_equal(pixels[..., 0], noise(*shape).reshape(6, 16, 16))
    assert "holds no labels: all images are one class" in images.notes[0]
    _, images, pixels = read_all(Npz(path, size=16))
    np.testing.assert_array_equal(pixels, np.repeat(noise(*shape).reshape(6, 16, 16, 1), 3, 3))
    assert "6 grey image(s) were made RGB; --channels gray keeps one channel" in images.notes


def test_channels_first_sizes_and_transparency_are_fitted(tmp_path):
    path = saved(tmp_path / "a.npz", images=noise(4, 3, 20, 30), labels=np.array(["b", "a", "b", "a"]))
    offer, images, pixels = read_all(Npz(path, size=20))
    assert (offer.classes, images.sizes) == (("a", "b"), {(30, 20): 4})
    np.testing.assert_array_equal(pixels, noise(4, 3, 20, 30).transpose(0, 2, 3, 1)[:, :, 5:25])
    clear = np.zeros((2, 8, 8, 4), np.uint8)
    assert read_all(Npz(saved(tmp_path / "b.npz", images=clear), size=8))[2].min() == 255


def test_other_names_are_named_and_wrong_ones_refused(tmp_path):
    path = saved(tmp_path / "a.npz", faces=noise(4, 8, 8, 3), ages=np.array([1, 2, 1, 2]))
    with pytest.raises(
        DataError, match="holds no array with a usual name, such as images; there are faces, ages; name"
    ):
        Npz(path).offer("train", None)
    with pytest.raises(DataError, match=r"holds no array age \(--labels-key\); nearest: ages"):
        Npz(path, images_key="faces", labels_key="age").offer("train", None)
    manifest = distgan.prepare(
        "npz", tmp_path / "out", archive=path, images_key="faces", labels_key="ages", size=8, progress=False
    )
    assert (manifest.classes, manifest.count) == (("1", "2"), 4)


def test_the_labels_are_those_that_go_with_the_images_that_were_named(tmp_path):
    train, test = noise(4, 8, 8, 3), noise(4, 8, 8, 3, seed=1)
    labels = {"y_train": np.zeros(4, int), "y_test": np.ones(4, int)}
    path = saved(tmp_path / "a.npz", x_train=train, x_test=test, **labels)
    assert Npz(path, images_key="x_test").offer("train", None).classes == ("1",)
    np.testing.assert_array_equal(read_all(Npz(path, labels_key="y_test", size=8))[2], test)
    path = saved(tmp_path / "b.npz", x_test=test, faces=train, y_train=labels["y_train"], label=labels["y_test"])
    for key in ("x_test", "faces"):
        with pytest.raises(DataError, match=f"none has the name that goes with {key}; name one with --labels-key"):
            Npz(path, images_key=key).offer("train", None)
        assert Npz(path, images_key=key, labels_key="label").offer("train", None).classes == ("1",)
    path = saved(tmp_path / "c.npz", x_test=test, y_train=labels["y_train"])
    with pytest.raises(DataError, match="holds y_train, and none has the name that goes with x_test"):
        Npz(path, images_key="x_test").offer("train", None)
    path = saved(tmp_path / "d.npz", faces=test, label=labels["y_test"])
    assert Npz(path, images_key="faces").offer("train", None).classes == ("1",)
    assert Npz(saved(tmp_path / "e.npz", faces=test), images_key="faces").offer("train", None).classes == ("images",)


def test_images_of_no_split_are_said_to_be_read_as_the_one_asked_for(tmp_path):
    path = saved(tmp_path / "a.npz", images=noise(4, 8, 8, 3), x_val=noise(4, 8, 8, 3), labels=np.zeros(4, int))
    note = f"{path}: images is of no split: all of it is read as test"
    assert read_all(Npz(path, size=8), "test")[1].notes == [note]
    for split in ("train", "val"):
        assert read_all(Npz(path, size=8), split)[1].notes == []


REFUSED = [
    ({"images": np.zeros((4, 8, 8, 3))}, "images holds float64; images are uint8, from 0 to 255"),
    ({"images": np.zeros((4, 8, 8, 3), np.uint16)}, "images holds uint16; images are uint8"),
    ({"images": np.zeros((4, 8), np.uint8)}, r"images has the shape \(4, 8\); images are"),
    ({"images": np.zeros((4, 8, 8, 2), np.uint8)}, r"images has the shape \(4, 8, 8, 2\)"),
    ({"images": np.zeros((0, 8, 8, 3), np.uint8)}, r"images has the shape \(0, 8, 8, 3\)"),
    ({"images": np.zeros((4, 8, 8), np.uint8), "labels": np.zeros(3, int)}, "holds 4 images in images and 3 labels"),
    ({"images": np.zeros((4, 8, 8), np.uint8), "labels": np.zeros((4, 10), int)}, r"labels has the shape \(4, 10\)"),
    ({"images": np.zeros((4, 8, 8), np.uint8), "labels": np.zeros(4)}, "labels holds float64; labels are integers"),
    (
        {"images": np.zeros((4, 8, 8), np.uint8), "labels": np.array([{}] * 4)},
        "labels holds object; labels are integers",
    ),
    ({"images": np.zeros((4, 8, 8), np.uint8), "labels": np.array(["a\n"] * 4)}, "which is no name of a class"),
    (
        {"images": np.zeros((2, 8, 8), np.uint8), "labels": np.array(["a", ""])},
        "holds '', which is no name",
    ),
    ({"images": np.zeros((64, 48, 3), np.uint8)}, r"images has the shape \(64, 48, 3\), which is one colour image"),
    ({"images": np.zeros((8, 8, 4), np.uint8)}, "which is one colour image; images are .N, H, W, C."),
]


@pytest.mark.parametrize(("arrays", "sentence"), REFUSED, ids=[case[1][:40] for case in REFUSED])
def test_other_arrays_are_one_sentence(tmp_path, arrays, sentence):
    source = Npz(saved(tmp_path / "a.npz", **arrays), size=8)
    with pytest.raises(DataError, match=sentence):
        source.offer("train", None).load(False)


def forged(path, shape, data=b"x" * 100, descr="|u1", name="images", **arrays):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": descr, "fortran_order": False, "shape": shape})
    np.savez(path, **arrays)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{name}.npy", head.getvalue() + data)
    return path


def test_a_forged_head_is_one_sentence(tmp_path):
    for number, (shape, descr) in enumerate((((-2, -3), "|u1"), ((2, -3, -1), "|u1"), ((6,), "<U0"))):
        data = b"x" * (6 if descr == "|u1" else 0)
        path = forged(tmp_path / f"{number}.npz", shape, data, descr, "labels", images=noise(6, 8, 8, 3))
        with pytest.raises(DataError, match=r"is not an \.npz file, or is damaged"):
            Npz(path, size=8).offer("train", None).load(False)
    with pytest.raises(DataError, match=r"is not an \.npz file, or is damaged"):
        Npz(forged(tmp_path / "images.npz", (-2, -3), b"x" * 6), size=8).offer("train", None).load(False)


def test_a_header_is_compared_with_the_file_and_the_memory_before_any_is_taken(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"images has .* bytes, and its head says \(1000000000000, 8, 8, 3\)"):
        Npz(forged(tmp_path / "a.npz", (10**12, 8, 8, 3))).offer("train", None).load(False)
    monkeypatch.setattr(npz.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 99}))
    with pytest.raises(DataError, match="images needs 100 bytes of memory, which are not free"):
        Npz(forged(tmp_path / "b.npz", (1, 10, 10))).offer("train", None).load(False)


def test_what_is_no_archive_is_one_sentence(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"hello")
    with pytest.raises(DataError, match=r"a\.npz is not an \.npz file, or is damaged"):
        Npz(tmp_path / "a.npz").offer("train", None)
    with pytest.raises(DataError, match=r"b\.npz cannot be read: No such file"):
        Npz(tmp_path / "b.npz").offer("train", None)
