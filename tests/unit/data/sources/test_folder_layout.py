"""Which folders are classes and which are splits: the usual layouts are recognised, everything else is refused."""

import pytest

from distgan.data.sources.folder_layout import find_layout, parts_of
from distgan.utils.errors import DataError


@pytest.fixture
def tree(tmp_path):
    """Makes a directory that holds these (empty) files."""

    def make(*files):
        for file in files:
            path = tmp_path / "set" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / "set"

    return make


def _found(root, split="train", chosen=None):
    """{class: folder below root}"""
    return {name: folder.name for name, folder in find_layout(root, split, chosen).folders.items()}


LAYOUTS = [
    # files, split, classes and their folders
    (["cat/1.png", "dog/1.png"], "train", {"cat": "cat", "dog": "dog"}),
    (["train/cat/1.png", "test/cat/1.png"], "test", {"cat": "test/cat"}),
    (["Train/cat/1.png", "Test/cat/1.png"], "train", {"cat": "Train/cat"}),
    (["training/cat/1.png", "testing/cat/1.png"], "test", {"cat": "testing/cat"}),
    (["train/cat/1.png", "valid/cat/1.png"], "val", {"cat": "valid/cat"}),
    (["TRAIN/cat/1.png", "Validation/cat/1.png", "val.txt"], "val", {"cat": "Validation/cat"}),
    (["seg_train/seg_train/sea/1.jpg", "seg_test/seg_test/sea/1.jpg", "seg_pred/seg_pred/1.jpg"], "train",
     {"sea": "seg_train/seg_train/sea"}),
    (["images-train/cat/1.png", "images-val/cat/1.png"], "val", {"cat": "images-val/cat"}),
    (["archive/animals/cat/1.png", "archive/animals/dog/1.png"], "train",
     {"cat": "archive/animals/cat", "dog": "archive/animals/dog"}),
    (["wrapper/train/cat/1.png", "wrapper/test/cat/1.png"], "test", {"cat": "wrapper/test/cat"}),
    (["cat/train/1.png", "cat/test/1.png", "dog/train/1.png", "dog/test/1.png"], "train",
     {"cat": "cat/train", "dog": "dog/train"}),
    (["cat/train/1.png", "cat/test/1.png"], "test", {"cat": "cat/test"}),
    (["train/cat/1.png", "test/1.png", "test/2.png"], "train", {"cat": "train/cat"}),
    (["train/cat/1.png", "test/cat/1.png", "annotations/1.xml"], "train", {"cat": "train/cat"}),
    (["train/1.png", "car/1.png"], "train", {"car": "car", "train": "train"}),
    (["vehicle/train/1.png", "vehicle/car/1.png", "cat/1.png"], "train", {"cat": "cat", "vehicle": "vehicle"}),
    (["vehicle/train/1.png", "cat/1.png"], "train", {"cat": "cat", "vehicle": "vehicle"}),
    (["steam_train/1.png", "freight_train/1.png"], "train",
     {"freight_train": "freight_train", "steam_train": "steam_train"}),
    (["test_tube/1.png", "flask/1.png"], "test", {"flask": "flask", "test_tube": "test_tube"}),
    (["frogs/1.png"], "train", {"frogs": "frogs"}),
    (["1.png", "2.png"], "train", {"images": ""}),
    (["1.png", "list.txt", "sub/notes.txt"], "test", {"images": ""}),
    (["train/1.png", "train/2.png"], "train", {"images": "train"}),
    (["train/1.png", "test/2.png"], "test", {"images": "test"}),
    (["Train/1.png", "Valid/2.png", "README.txt"], "val", {"images": "Valid"}),
    (["img_align_celeba/1.jpg", "list_attr.csv"], "train", {"img_align_celeba": "img_align_celeba"}),
    (["images/1.jpg", "annotations/trimaps/1.png"], "train", {"images": "images"}),
    (["images/train/1.jpg", "images/val/2.jpg", "labels/train/1.txt", "labels/val/2.txt"], "val",
     {"images": "images/val"}),
    (["archive/images/1.jpg", "archive/masks/1.png"], "train", {"images": "archive/images"}),
    (["1.png", "2.png", "3.png", "more/4.png"], "train", {"images": ""}),
    (["1.png", "cat/2.png", "cat/3.png"], "train", {"cat": "cat"}),
    (["2023/05/1.jpg", "2023/06/2.jpg", "2024/01/3.jpg"], "train", {"images": ""}),
    (["2023-05-12/1.jpg", "2023-05-13/2.jpg"], "train", {"images": ""}),
    (["DCIM/100APPLE/1.jpg", "DCIM/101APPLE/2.jpg"], "train", {"images": "DCIM"}),
    (["00000/1.png", "01000/2.png"], "train", {"images": ""}),
    (["0/1.png", "1/2.png"], "train", {"0": "0", "1": "1"}),
]  # fmt: skip


@pytest.mark.parametrize(("files", "split", "folders"), LAYOUTS, ids=[" ".join(case[0]) for case in LAYOUTS])
def test_a_usual_layout_is_recognised(tree, files, split, folders):
    assert _found(tree(*files), split) == folders


REFUSED = [
    (["train/1.png", "test/1.png", "cat/1.png"], "train", "look like splits without classes"),
    (["train/cat/1.png", "dog/1.png"], "train", "holds the folders dog, train, which look like splits beside classes"),
    (["train/cat/1.png", "Train/cat/1.png"], "train", "several are the split train; give one of them"),
    (["train/cat/1.png", "valid/cat/1.png"], "test", "has no test split, only train, valid; pass --split train"),
    (["train/cat/1.png", "test/1.png"], "test", "test has no class folders, unlike train; put the images"),
    (["cat/train/1.png", "cat/test/1.png", "dog/1.png"], "train", "cat holds the folders test, train, which look like"),
    (["cat/train/1.png", "cat/test/1.png", "dog/train/1.png"], "test", "dog has 0 folders for the split test: train"),
    ([".hidden"], "train", "set holds no image and no folder; give a directory of images, or of one folder per class"),
    (["train/1.png", "valid/1.png"], "test", "has no test split, only train, valid; pass --split train"),
]


@pytest.mark.parametrize(("files", "split", "sentence"), REFUSED, ids=[" ".join(case[0]) for case in REFUSED])
def test_what_could_be_meant_in_two_ways_is_refused_with_what_was_seen(tree, files, split, sentence):
    with pytest.raises(DataError, match=sentence):
        _found(tree(*files), split)


def test_folders_that_are_named_as_classes_are_classes(tree):
    root = tree("train/1.png", "test/1.png")
    assert _found(root, chosen=("train",)) == {"test": "test", "train": "train"}


def test_a_chosen_class_with_splits_in_it_is_read_for_one_split_only(tree):
    root = tree("cat/train/1.png", "cat/test/1.png", "dog/train/1.png", "dog/test/1.png")
    assert _found(root, chosen=("cat",)) == {"cat": "cat/train", "dog": "dog/train"}
    root = tree("zip/cat/train/1.png", "zip/cat/test/1.png").joinpath("zip")
    assert _found(root, chosen=("cat",)) == {"cat": "cat/train"}


def test_the_notes_say_what_was_taken_and_what_was_left_out(tree):
    root = tree("train/cat/1.png", "test/cat/1.png", "README.md", "train/stray.jpg")
    assert find_layout(root, "train", None).notes == (
        f"{root}/train is the split train; left out: test",
        f"{root}/train holds 1 image(s) beside the folders, such as stray.jpg; left out",
    )
    assert find_layout(root.parent, "train", None).root.path == root / "train"
    part = root / "test"
    assert find_layout(part, "test", None).notes == (f"{part} has no splits: all of it is read as test",)


def test_without_classes_all_images_of_a_split_are_one(tree):
    root = tree("train/cat/1.png", "train/dog/1.png", "test/cat/1.png")
    layout = find_layout(root, "train", None, classes=False)
    assert ({name: folder.name for name, folder in layout.folders.items()}, layout.flat) == (
        {"images": "train"}, "as asked",
    )  # fmt: skip
    root = tree("train/1.png", "test/1.png", "more/1.png")
    assert find_layout(root, "train", None, classes=False).root.name == ""


def test_why_there_are_no_classes_is_said(tree):
    assert find_layout(tree("1.png"), "train", None).flat == "no class folders"
    assert find_layout(tree("1.png", "2.png", "cat/1.png"), "train", None).flat == (
        "more images beside the folders than in them"
    )


def test_named_date_folders_are_classes(tree):
    assert _found(tree("1998/1.png", "1999/1.png"), chosen=("1998", "1999")) == {"1998": "1998", "1999": "1999"}


def test_a_folder_that_leads_back_to_itself_is_refused(tree, tmp_path):
    root = tree()
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "again").symlink_to(tmp_path / "set")
    with pytest.raises(DataError, match="again is a link to a folder above it"):
        find_layout(root, "train", None)


def test_an_addition_makes_splits_only_where_all_share_it():
    assert parts_of(["seg_train", "seg_test", "seg_pred"]) == {
        "seg_train": "train", "seg_test": "test", "seg_pred": "unused",
    }  # fmt: skip
    assert parts_of(["steam_train", "test_tube", "valid-1"]) == {}
    assert parts_of(["train", "test_tube"]) == {"train": "train"}
