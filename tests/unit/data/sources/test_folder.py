"""Class sub-folders: what counts as an image and as damage, and what is said about it."""

import itertools
import os

import numpy as np
import pytest
from PIL import Image

from distgan.data.prepare import Request, prepare
from distgan.data.sources.folder import Folder
from distgan.data.sources.folder_layout import find_layout
from distgan.data.sources.tree import Directory
from distgan.utils.errors import DataError
from distgan.utils.log import show_on_terminal
from tests.support.image_files import noise, put


@pytest.fixture
def tree(tmp_path):
    for name in ("dog", "cat"):
        for i in range(3):
            put(tmp_path / "set" / name / f"{i}.png", noise(32, 32, 3, seed=i))
    return tmp_path / "set"


def test_classes_are_the_sub_folders_in_sorted_order(tree):
    offer = Folder(tree).offer("train", None)
    assert offer.classes == ("cat", "dog")
    images = offer.load(False)
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(images.read(np.array([4]))[0], noise(32, 32, 3, seed=1))
    assert Folder(tree).offer("train", ("dog",)).classes == ("dog",)


def test_hidden_files_and_files_beside_the_class_folders_are_ignored(tree):
    for name in (".DS_Store", "cat/.DS_Store", "cat/Thumbs.db", "cat/desktop.ini", "labels.csv"):
        (tree / name).write_text("junk")
    (tree / ".git").mkdir()
    (tree / "cat" / ".cache").mkdir()
    (tree / "cat" / ".cache" / "x").write_text("junk")
    assert len(Folder(tree).offer("train", None).load(False).keys) == 6


def test_images_in_nested_folders_belong_to_the_class(tree):
    put(tree / "cat" / "more" / "9.png", noise(32, 32, 3))
    assert [name for _, name in Directory(tree / "cat").walk()] == ["0.png", "1.png", "2.png", "9.png"]


def test_train_and_test_folders_are_picked_by_split(tmp_path, tree):
    both = tmp_path / "both"
    for split, color in (("train", 10), ("test", 20)):
        put(both / split / "cat" / "0.png", np.full((4, 4, 3), color, np.uint8))
    for split, color in (("train", 10), ("test", 20)):
        offer = Folder(both, size=4).offer(split, None)
        assert offer.classes == ("cat",)
        assert offer.load(False).read(np.array([0]))[0][0, 0, 0] == color
    assert find_layout(tree, "test", None).root.path == tree
    (both / "test").rename(tmp_path / "gone")
    with pytest.raises(DataError, match="both has no test split, only train; pass --split train"):
        find_layout(both, "test", None)


def test_class_folders_that_are_called_train_and_hold_images_are_classes(tmp_path):
    for name in ("car", "train"):
        put(tmp_path / name / "0.png", noise(4, 4, 3))
    assert Folder(tmp_path).offer("train", None).classes == ("car", "train")


def _read_all(source):
    """What is left out of the images, and the notes. Raises what `prepare` would."""
    images = source.offer("train", None).load(False)
    left_out = [image is None for image in images.read(np.arange(len(images.keys)))]
    return left_out, images.finish()


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif", "bmp", "tiff"])
def test_a_file_that_is_cut_short_is_named_or_skipped(tmp_path, tree, kind):
    whole = put(tmp_path / f"whole.{kind}", noise(64, 64, 3)).read_bytes()
    (tree / "cat" / "bad.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cat/bad\.png (cannot be read|is no).*--skip-bad"):
        _read_all(Folder(tree))
    left_out, notes = _read_all(Folder(tree, skip_bad=True))
    assert left_out == [False] * 3 + [True] + [False] * 3
    assert len(notes) == 1
    assert "skipped: " in notes[0]
    assert "cat/bad.png" in notes[0]
    assert "--skip-bad" not in notes[0]


def test_all_damaged_files_are_named_at_once_and_nothing_is_made(tmp_path, tree):
    for name in ("cat/a.png", "dog/b.jpg", "dog/c.webp"):
        (tree / name).write_bytes(b"hello")
    with pytest.raises(DataError, match=r"^3 files cannot be used: .*a\.png .*dog/b\.jpg .*c\.webp .*--skip-bad"):
        prepare(Request(tmp_path / "out", Folder(tree)), progress=False)
    assert not (tmp_path / "out").exists()
    assert prepare(Request(tmp_path / "out", Folder(tree, skip_bad=True)), progress=False).count == 6


def test_files_beside_the_images_are_counted_and_listed_before_the_work(tmp_path, tree, caplog):
    for number in range(30):
        (tree / "cat" / f"{number}.txt").write_text("a caption")
    (tree / "dog" / "boxes.json").write_text("{}")
    with pytest.raises(DataError, match=r"^31 files are no images that Pillow reads: cat/0\.txt, .*\.\.\.; remove"):
        Folder(tree).offer("train", None).load(False)
    (tree / "dog" / "0.png").rename(tree / "dog" / "0")  # an image without an ending is one
    left_out, notes = _read_all(Folder(tree, skip_bad=True))
    assert (left_out, notes) == ([False] * 6, [])


def test_what_is_taken_for_classes_is_said_before_anything_is_written(tmp_path, tree, capsys):
    show_on_terminal()
    Folder(tree).offer("train", None).load(False)
    assert f"{tree}: 2 classes: cat (3 images), dog (3 images)\n" in capsys.readouterr().err


def test_the_note_on_dark_images_comes_from_prepare_and_white_is_part_of_the_request(tmp_path, tree, capsys):
    show_on_terminal()
    put(tree / "cat" / "deep.png", Image.fromarray(np.full((32, 32), 4095, np.uint16)))
    prepare(Request(tmp_path / "out", Folder(tree)), progress=False)
    assert "note: images of more than 8 bits (1): the largest value is 4,095 of 65,535" in capsys.readouterr().err
    with pytest.raises(DataError, match="was made by another request"):
        prepare(Request(tmp_path / "out", Folder(tree, white=4095)), progress=False)


def test_links_to_folders_are_followed_with_a_note_and_those_that_lead_back_are_refused(tmp_path, tree, capsys):
    show_on_terminal()
    (tree / "cat" / "link.png").symlink_to(tree / "dog" / "0.png")
    assert len(Folder(tree).offer("train", None).load(False).keys) == 7
    put(tmp_path / "elsewhere" / "0.png", noise(32, 32, 3))
    (tree / "horse").symlink_to(tmp_path / "elsewhere")
    offer = Folder(tree).offer("train", None)
    assert offer.classes == ("cat", "dog", "horse")
    assert len(offer.load(False).keys) == 8
    assert "1 linked folder(s) were followed, such as horse" in capsys.readouterr().err
    (tmp_path / "elsewhere" / "again").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="horse/again is a link to a folder above it, which would never end"):
        Folder(tree).offer("train", None)
    (tmp_path / "elsewhere" / "again").unlink()
    (tree / "cat" / "loop").symlink_to(tree)
    with pytest.raises(DataError, match="cat/loop is a link to a folder above it"):
        Folder(tree).offer("train", None)


def test_linked_folders_that_multiply_end(tmp_path, tree, monkeypatch):
    monkeypatch.setattr("distgan.data.sources.tree.MAX_LINKS", 100)
    places = [tmp_path / f"{level}" for level in range(20)]
    for place in places:
        place.mkdir()
    for place, next_place in itertools.pairwise(places):
        (place / "a").symlink_to(next_place)
        (place / "b").symlink_to(next_place)
    (tree / "many").symlink_to(places[0])
    with pytest.raises(DataError, match="holds more than 100 linked folders"):
        Folder(tree).offer("train", None)


def test_broken_links_and_pipes_are_errors_and_do_not_hang(tree):
    (tree / "cat" / "gone.png").symlink_to("nowhere.png")
    (tree / "cat" / "loop.png").symlink_to("loop.png")
    with pytest.raises(DataError, match=r"2 files .*gone\.png cannot be read \(No such file.*loop\.png cannot be read"):
        _read_all(Folder(tree))
    (tree / "cat" / "gone.png").unlink()
    (tree / "cat" / "loop.png").unlink()
    os.mkfifo(tree / "cat" / "pipe.png")
    with pytest.raises(DataError, match=r"pipe\.png is not a regular file"):
        _read_all(Folder(tree))


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
    assert Folder(tree / "cat").offer("train", None).classes == ("images",)


@pytest.mark.needs("user")
def test_an_image_that_may_not_be_read_is_named(tree):
    (tree / "cat" / "0.png").chmod(0)
    with pytest.raises(DataError, match=r"cat/0\.png cannot be read \(Permission denied\)"):
        _read_all(Folder(tree))


def test_a_class_name_that_is_no_text_is_refused(tree):
    os.mkdir(os.fsencode(tree) + b"/\xff")
    with pytest.raises(DataError, match="has a sub-folder whose name is not UTF-8 text"):
        Folder(tree).offer("train", None)


def test_the_request_changes_with_the_files_and_not_with_the_place(tmp_path, tree):
    before = Folder(tree).offer("train", None).request
    tree.rename(tmp_path / "moved")
    assert Folder(tmp_path / "moved").offer("train", None).request == before
    put(tmp_path / "moved" / "cat" / "new.png", noise(32, 32, 3))
    assert Folder(tmp_path / "moved").offer("train", None).request != before


def test_files_written_anew_with_the_same_size_are_named_and_the_data_set_is_left_as_it_is(tmp_path, tree, capsys):
    show_on_terminal()
    path = put(tree / "cat" / "9.bmp", noise(32, 32, 3))
    request = Request(tmp_path / "out", Folder(tree))
    made = prepare(request, progress=False)
    capsys.readouterr()
    assert prepare(request, progress=False) == made
    assert capsys.readouterr().err == ""
    put(path, noise(32, 32, 3, seed=9))
    later = (tmp_path / "out" / "manifest.json").stat().st_mtime + 2
    os.utime(path, (later, later))
    assert prepare(request, progress=False) == made
    warning = capsys.readouterr().err
    assert f"{path} was written after {tmp_path}/out was made, which is left as it is" in warning
    assert "if images have changed, pass --overwrite" in warning


def test_folders_without_end_are_refused(tmp_path):
    place = tmp_path / "set"
    put(place.joinpath(*"x" * 70) / "1.png", noise(4, 4, 3))
    with pytest.raises(DataError, match="set holds more than 64 folders within one another"):
        Folder(place).offer("train", None)


def test_a_mistyped_folder_gets_the_one_beside_it_that_is_meant(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match=f"cannot be read: No such file or directory; nearest: {tmp_path}/photos"):
        Folder(tmp_path / "phtos").offer("train", None)
