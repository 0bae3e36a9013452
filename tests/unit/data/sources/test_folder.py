"""Class sub-folders: what counts as a class, an image and damage, and how every image mode becomes RGB."""

import os

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from distgan.data.sources import folder
from distgan.data.sources.folder import Folder, load_image, split_root, square, to_rgb, walk
from distgan.utils.errors import DataError


def _noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _put(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


@pytest.fixture
def tree(tmp_path):
    for name in ("dog", "cat"):
        for i in range(3):
            _put(tmp_path / "set" / name / f"{i}.png", _noise(32, 32, 3, seed=i))
    return tmp_path / "set"


def test_an_image_of_the_right_size_keeps_every_pixel(tmp_path):
    pixels = _noise(32, 32, 3)
    np.testing.assert_array_equal(load_image(_put(tmp_path / "a.png", pixels), 32), pixels)
    np.testing.assert_array_equal(load_image(_put(tmp_path / "a.webp", pixels, lossless=True), 32), pixels)


def test_a_larger_image_is_cut_to_its_central_square_and_resized_with_lanczos(tmp_path):
    pixels = _noise(64, 128, 3)
    whole = np.asarray(Image.fromarray(pixels).resize((64, 32), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(load_image(_put(tmp_path / "a.png", pixels), 32), whole[:, 16:48])
    np.testing.assert_array_equal(load_image(tmp_path / "a.png", 64), pixels[:, 32:96])


def test_a_constant_image_stays_constant_at_every_size():
    image = Image.new("RGB", (7, 301), (10, 200, 90))
    for size in (1, 8, 64):
        assert np.unique(square(image, size).reshape(-1, 3), axis=0).tolist() == [[10, 200, 90]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_respected(tmp_path, orientation):
    pixels = _noise(16, 16, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = _put(tmp_path / "a.png", pixels, exif=exif)
    turned = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(pixels),
    }
    np.testing.assert_array_equal(load_image(path, 16), turned[orientation])


def test_damaged_exif_data_does_not_lose_the_image(tmp_path):
    pixels = _noise(8, 8, 3)
    path = _put(tmp_path / "a.png", pixels, exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    np.testing.assert_array_equal(load_image(path, 8), pixels)


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path):
    values = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)  # 257 * 0 ... 257 * 255
    path = _put(tmp_path / "a.png", Image.fromarray(values))
    expected = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    np.testing.assert_array_equal(load_image(path, 16), expected)


def test_grey_and_one_bit_images_are_repeated_in_three_channels(tmp_path):
    grey = _noise(8, 8)
    np.testing.assert_array_equal(load_image(_put(tmp_path / "l.png", grey), 8), np.stack([grey] * 3, 2))
    bits = grey > 127
    np.testing.assert_array_equal(load_image(_put(tmp_path / "1.png", bits), 8), np.stack([bits * 255] * 3, 2))


def test_transparency_is_put_on_white(tmp_path):
    rgba = _noise(8, 8, 4)
    share = rgba[..., 3:] / 255
    expected = rgba[..., :3] * share + 255 * (1 - share)
    np.testing.assert_allclose(load_image(_put(tmp_path / "rgba.png", rgba), 8), expected, atol=1)
    la = _noise(8, 8, 2)
    share = la[..., 1] / 255
    expected = np.stack([la[..., 0] * share + 255 * (1 - share)] * 3, 2)
    np.testing.assert_allclose(load_image(_put(tmp_path / "la.png", Image.fromarray(la, "LA")), 8), expected, atol=1)


def test_clear_palette_entries_and_clear_colours_become_white(tmp_path):
    palette = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    palette.putpalette([9, 8, 7, 200, 100, 50])
    expected = [[[255, 255, 255], [200, 100, 50]], [[200, 100, 50], [255, 255, 255]]]
    assert load_image(_put(tmp_path / "p.png", palette, transparency=0), 2).tolist() == expected
    assert load_image(_put(tmp_path / "q.png", palette), 2)[0, 0].tolist() == [9, 8, 7]
    rgb = np.array(expected, np.uint8)
    rgb[rgb == 255] = 3
    path = _put(tmp_path / "rgb.png", rgb, transparency=(3, 3, 3))
    assert load_image(path, 2).tolist() == expected
    deep = Image.fromarray(np.array([[7, 65535], [257 * 9, 7]], np.uint16))
    grey = load_image(_put(tmp_path / "deep.png", deep, transparency=7), 2)
    assert grey[..., 0].tolist() == [[255, 255], [9, 255]]


def test_cmyk_and_grey_jpegs_are_converted(tmp_path):
    ink = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    cyan = load_image(_put(tmp_path / "c.jpg", ink, quality=100), 8)
    np.testing.assert_allclose(cyan, np.broadcast_to([0, 255, 255], (8, 8, 3)), atol=3)
    grey = load_image(_put(tmp_path / "g.jpg", Image.new("L", (8, 8), 99), quality=100), 8)
    np.testing.assert_allclose(grey, 99, atol=1)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "I", "I;16"])
def test_every_mode_becomes_rgb(mode):
    assert to_rgb(Image.new(mode, (4, 4))).mode == "RGB"


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_an_animation_gives_its_first_frame(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    path = tmp_path / f"a.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], **({"lossless": True} if suffix == "webp" else {}))
    assert load_image(path, 8)[0, 0].tolist() == [250, 0, 0]


def test_classes_are_the_sub_folders_in_sorted_order(tree):
    offer = Folder(tree).offer("train", None)
    assert offer.classes == ("cat", "dog")
    images = offer.load(False)
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(images.read(np.array([4]))[0], _noise(32, 32, 3, seed=1))
    assert Folder(tree).offer("train", ("dog",)).classes == ("dog",)


def test_hidden_files_and_files_beside_the_class_folders_are_ignored(tree):
    for name in (".DS_Store", "cat/.DS_Store", "cat/Thumbs.db", "cat/desktop.ini", "labels.csv"):
        (tree / name).write_text("junk")
    (tree / ".git").mkdir()
    (tree / "cat" / ".cache").mkdir()
    (tree / "cat" / ".cache" / "x").write_text("junk")
    assert len(Folder(tree).offer("train", None).load(False).keys) == 6


def test_images_in_nested_folders_belong_to_the_class(tree):
    _put(tree / "cat" / "more" / "9.png", _noise(32, 32, 3))
    assert [path.name for path, _ in walk(tree / "cat")] == ["0.png", "1.png", "2.png", "9.png"]


def test_train_and_test_folders_are_picked_by_split(tmp_path, tree):
    both = tmp_path / "both"
    for split, color in (("train", 10), ("test", 20)):
        _put(both / split / "cat" / "0.png", np.full((4, 4, 3), color, np.uint8))
    for split, color in (("train", 10), ("test", 20)):
        offer = Folder(both, 4).offer(split, None)
        assert offer.classes == ("cat",)
        assert offer.load(False).read(np.array([0]))[0][0, 0, 0] == color
    assert split_root(tree, "test") == tree
    (both / "test").rename(tmp_path / "gone")
    with pytest.raises(DataError, match="both has no test split, only train; pass --split train"):
        split_root(both, "test")


def test_class_folders_that_are_called_train_and_hold_images_are_classes(tmp_path):
    for name in ("car", "train"):
        _put(tmp_path / name / "0.png", _noise(4, 4, 3))
    assert Folder(tmp_path).offer("train", None).classes == ("car", "train")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"hello", "is not a PNG, JPEG or WebP image"),
        (b"", "is not a PNG, JPEG or WebP image"),
        (b"GIF89a\x01\x00\x01\x00\x00\x00\x00;", "is not a PNG, JPEG or WebP image"),
        ("png", "cannot be read"),
        ("jpeg", "cannot be read"),
        ("webp", r"(cannot be read|is no PNG)"),
    ],
)
def test_a_file_that_is_no_image_or_cut_short_is_named_or_skipped(tmp_path, tree, content, reason):
    if isinstance(content, str):
        whole = _put(tmp_path / f"whole.{content}", _noise(64, 64, 3)).read_bytes()
        content = whole[: len(whole) // 2]
    (tree / "cat" / "bad.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"cat/bad\.png {reason}.*--skip-bad"):
        Folder(tree).offer("train", None).load(False).read(np.arange(7))
    images = Folder(tree, skip_bad=True).offer("train", None).load(False)
    assert [image is None for image in images.read(np.arange(7))] == [False] * 3 + [True] + [False] * 3
    assert len(images.notes) == 1
    assert "cat/bad.png" in images.notes[0]
    assert "--skip-bad" not in images.notes[0]


def test_a_damaged_png_chunk_is_an_error(tmp_path):
    path = _put(tmp_path / "a.png", _noise(32, 32, 3))
    content = bytearray(path.read_bytes())
    content[content.index(b"IHDR") + 7] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png"):
        load_image(path, 32)


def test_an_image_with_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = _put(tmp_path / "a.png", _noise(20, 20, 3))
    monkeypatch.setattr(folder, "MAX_PIXELS", 399)
    with pytest.raises(DataError, match=r"a\.png has more than 399 pixels"):
        load_image(path, 8)
    monkeypatch.setattr(folder, "MAX_PIXELS", 10**12)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"a\.png has more than"):
        load_image(path, 8)


def test_a_text_chunk_that_unpacks_without_end_is_an_error(tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_text("bomb", "x" * 2**21, zip=True)
    path = _put(tmp_path / "a.png", _noise(8, 8, 3), pnginfo=text)
    with pytest.raises(DataError, match=r"a\.png cannot be read"):
        load_image(path, 8)


def test_links_to_directories_are_refused_and_links_to_files_are_read(tmp_path, tree):
    (tree / "cat" / "link.png").symlink_to(tree / "dog" / "0.png")
    assert len(Folder(tree).offer("train", None).load(False).keys) == 7
    (tree / "cat" / "loop").symlink_to(tree)
    with pytest.raises(DataError, match="cat/loop is a link to a directory"):
        Folder(tree).offer("train", None)
    (tree / "cat" / "loop").unlink()
    (tree / "elsewhere").symlink_to(tmp_path)
    with pytest.raises(DataError, match="elsewhere is a link to a directory"):
        Folder(tree).offer("train", None)


def test_broken_links_and_pipes_are_errors_and_do_not_hang(tree):
    (tree / "cat" / "gone.png").symlink_to("nowhere.png")
    with pytest.raises(DataError, match=r"gone\.png cannot be read \(No such file"):
        Folder(tree).offer("train", None).load(False).read(np.arange(7))
    (tree / "cat" / "gone.png").unlink()
    os.mkfifo(tree / "cat" / "pipe.png")
    with pytest.raises(DataError, match=r"pipe\.png is not a regular file"):
        Folder(tree).offer("train", None).load(False).read(np.arange(7))


def test_an_empty_class_folder_is_an_error_unless_it_is_not_asked_for(tree):
    (tree / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no image; .*--classes"):
        Folder(tree).offer("train", None)
    assert Folder(tree).offer("train", ("cat", "dog")).classes == ("cat", "dog")


def test_an_unknown_class_a_missing_directory_a_file_and_a_flat_directory_are_told_apart(tree):
    with pytest.raises(DataError, match=r"class 'cats' is not in this data set; nearest: cat; there are cat, dog"):
        Folder(tree).offer("train", ("cats",))
    with pytest.raises(DataError, match="nowhere cannot be read: No such file"):
        Folder(tree / "nowhere").offer("train", None)
    with pytest.raises(DataError, match=r"0\.png is a file, not a directory"):
        Folder(tree / "cat" / "0.png").offer("train", None)
    with pytest.raises(DataError, match="cat has no sub-folder; put the images in one folder per class"):
        Folder(tree / "cat").offer("train", None)


@pytest.mark.needs("user")
def test_an_image_that_may_not_be_read_is_named(tree):
    (tree / "cat" / "0.png").chmod(0)
    with pytest.raises(DataError, match=r"cat/0\.png cannot be read \(Permission denied\)"):
        Folder(tree).offer("train", None).load(False).read(np.arange(1))


def test_a_class_name_that_is_no_text_is_refused(tree):
    os.mkdir(os.fsencode(tree) + b"/\xff")
    with pytest.raises(DataError, match="has a sub-folder whose name is not text"):
        Folder(tree).offer("train", None)


def test_the_request_changes_with_the_files_and_not_with_the_place(tmp_path, tree):
    before = Folder(tree).offer("train", None).request
    tree.rename(tmp_path / "moved")
    assert Folder(tmp_path / "moved").offer("train", None).request == before
    _put(tmp_path / "moved" / "cat" / "new.png", _noise(32, 32, 3))
    assert Folder(tmp_path / "moved").offer("train", None).request != before
