"""The classes of images in folders: from a table, from the names of the files, or none; what is said and refused."""

import json
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distgan.data.sources.folder import Folder
from distgan.data.sources.listing import Labelled, list_images
from distgan.data.sources.tree import Directory
from distgan.data.sources.zip_file import ZipArchive
from distgan.utils.errors import DataError
from distgan.utils.log import show_on_terminal
from tests.support.image_files import noise, put


@pytest.fixture
def folder(tmp_path):
    """Six images in a flat folder, `a0.png` ... `a5.png`."""
    for number in range(6):
        put(tmp_path / "set" / f"a{number}.png", noise(8, 8, 3, seed=number))
    return tmp_path / "set"


def labels_of(source, split="train", classes=None):
    """{class: number of images}"""
    offer = source.offer(split, classes)
    images = offer.load(False)
    return {name: int((images.labels == index).sum()) for index, name in enumerate(offer.classes)}


def test_a_flat_folder_is_one_class_and_its_other_files_are_counted(folder, capsys):
    show_on_terminal()
    (folder / "readme.txt").write_text("hello")
    (folder / "LICENSE").write_text("hello")
    assert labels_of(Folder(folder)) == {"images": 6}
    error = capsys.readouterr().err
    assert f"1 file(s) in {folder} have no image's ending; left out\n" in error
    assert "note: 1 file is no image, left out: set/LICENSE\n" in error
    assert f"{folder}: 1 class (no class folders): images (6 images)\n" in error


def test_a_table_names_files_by_path_name_or_stem(folder, capsys):
    show_on_terminal()
    (folder / "labels.csv").write_text("image,class\na0.png,x\n./a1.png,x\na2,y\nset/a9.png,y\n")
    assert labels_of(Folder(folder)) == {"x": 2, "y": 1}
    error = capsys.readouterr().err
    assert f"3 image(s) have no class in {folder}/labels.csv; left out\n" in error
    assert f"1 row(s) of {folder}/labels.csv name no image below {folder}\n" in error
    assert f"{folder}: 2 classes (column class of {folder}/labels.csv): x (2 images), y (1 image)\n" in error
    assert labels_of(Folder(folder), classes=("y",)) == {"y": 1}


def test_two_spellings_of_a_file_with_two_classes_give_it_none(folder, capsys):
    show_on_terminal()
    rows = "a0.png,cat\n./a0.png,dog\na1.png,cat\na1,dog\na2.png,dog\n./a2.png,dog\na3,cat\n"
    (folder / "labels.csv").write_text(f"image,class\n{rows}")
    assert labels_of(Folder(folder)) == {"cat": 1, "dog": 1}
    error = capsys.readouterr().err
    assert "4 image(s) have no class" in error
    assert "name no image" not in error


def test_the_column_that_names_the_files_is_the_one_that_matches(folder):
    rows = "".join(f"{number + 7},a{number}.png,{'xy'[number % 2]}\n" for number in range(6))
    (folder / "labels.csv").write_text(f"id,name,label\n{rows}")
    assert labels_of(Folder(folder)) == {"x": 3, "y": 3}
    (folder / "labels.csv").write_text(f"id,name,image\n{rows}")
    assert labels_of(Folder(folder, label_column="image")) == {"x": 3, "y": 3}


def test_labels_of_another_type_are_named_and_whole_numbers_are_numbers(folder):
    table = folder / "metadata.jsonl"
    table.write_text("".join(json.dumps({"file_name": f"a{i}.png", "label": i % 2 / 1.0}) + "\n" for i in range(6)))
    assert labels_of(Folder(folder)) == {"0": 3, "1": 3}
    for value, shown in ((0.5, "0.5"), (True, "True"), ([1], r"\[1\]")):
        table.write_text(json.dumps({"file_name": "a0.png", "label": value}))
        with pytest.raises(DataError, match=f"gives no image a class: its column label holds {shown}, which is no"):
            Folder(folder, labels="metadata.jsonl").offer("train", None)


def test_names_that_two_folders_share_need_their_paths(tmp_path):
    for place in ("p", "q"):
        put(tmp_path / "set" / place / "1.png", noise(8, 8, 3))
    table = tmp_path / "set" / "metadata.csv"
    table.write_text("file_name,label\np/1.png,x\nq\\1.png,y\n")
    assert labels_of(Folder(tmp_path / "set")) == {"x": 1, "y": 1}
    table.write_text("file_name,label\n1.png,x\n")
    assert labels_of(Folder(tmp_path / "set")) == {"p": 1, "q": 1}


def test_a_leading_table_goes_before_class_folders_and_others_do_not(tmp_path, capsys):
    show_on_terminal()
    for name in ("cat", "dog"):
        put(tmp_path / "set" / name / f"{name}.png", noise(8, 8, 3))
    (tmp_path / "set" / "labels.csv").write_text("id,label\ncat,x\ndog,y\n")
    assert labels_of(Folder(tmp_path / "set")) == {"cat": 1, "dog": 1}
    assert labels_of(Folder(tmp_path / "set", labels="labels.csv")) == {"x": 1, "y": 1}
    (tmp_path / "set" / "metadata.jsonl").write_text('{"file_name": "cat/cat.png", "mood": "x"}\n')
    capsys.readouterr()
    assert labels_of(Folder(tmp_path / "set", label_column="mood")) == {"x": 1}
    (tmp_path / "set" / "metadata.jsonl").write_text('{"file_name": "cat/cat.png", "text": "x", "more": 1}\n')
    assert labels_of(Folder(tmp_path / "set")) == {"cat": 1, "dog": 1}
    assert "metadata.jsonl was not used: none of its columns (text, more) is called label" in capsys.readouterr().err


def test_numbers_are_sorted_as_numbers_and_an_image_of_two_classes_is_left_out(folder, capsys):
    show_on_terminal()
    (folder / "labels.csv").write_text("id,label\na0,10\na1,9\na2,9\na2,10\na3,\na4,-1\n")
    assert list(labels_of(Folder(folder))) == ["9", "10"]
    assert "4 image(s) have no class in" in capsys.readouterr().err


TABLES = [
    ("labels.csv", "x,y\n1,2\n", None, "none of its columns names the images, such as file_name; it has x, y"),
    ("labels.csv", "id,a,b\na0,1,2\n", None, r"gives no image a class: none of its columns \(a, b\) is called label"),
    ("labels.csv", "id,label\nz,1\n", None, "gives no image a class: none of its 1 rows names an image below"),
    ("labels.csv", "id,label\na0,x\n", "colour", "has no column colour; there are label"),
    ("labels.csv", "id,label\na0,x\n", "id", "has no column id; there are label"),
    ("labels.csv", "id,label\na0,\x07\n", None, "holds '\\\\x07', which is no name of a class"),
    ("labels.jsonl", "{", None, "is not a table of labels"),
    ("labels.jsonl", "[" * 100_000, None, "is not a table of labels"),
    ("labels.csv", "id,label\na0,\udcff\n", None, "is not a table of labels"),
]


@pytest.mark.parametrize(("name", "text", "column", "sentence"), TABLES, ids=[case[3] for case in TABLES])
def test_a_table_that_gives_nothing_is_one_sentence(folder, name, text, column, sentence):
    (folder / name).write_text(text, errors="surrogateescape")
    with pytest.raises(DataError, match=sentence):
        Folder(folder, labels=name, label_column=column).offer("train", None)


def test_a_table_or_a_pattern_that_is_not_there_is_one_sentence(folder):
    with pytest.raises(DataError, match=r"set has no table labels\.csv; there is no \.csv or \.jsonl"):
        Folder(folder, labels="labels.csv").offer("train", None)
    (folder / "ages.csv").write_text("id,age\n")
    with pytest.raises(
        DataError, match=r"has no table of labels with a usual name; there are ages\.csv; name one with"
    ):
        Folder(folder, label_column="age").offer("train", None)
    for pattern, sentence in (
        ("(", "is not a regular expression"),
        ("a[0-9]", "has no group; put the class in brackets"),
        ("(x)", r"finds a class in no file below .*, such as a0\.png"),
    ):
        with pytest.raises(DataError, match=sentence):
            Folder(folder, label_pattern=pattern).offer("train", None)
    assert labels_of(Folder(folder, label_pattern="a([0-3])")) == {"0": 1, "1": 1, "2": 1, "3": 1}


def test_a_table_may_lie_in_tabs_and_with_a_mark_of_its_encoding(folder):
    (folder / "labels.tsv").write_text("\ufefffile name\tx\nnone\t1\n")
    (folder / "mine.tsv").write_text("\ufeffid\tlabel\na0\tx\na1\ty\n", encoding="utf-8")
    assert labels_of(Folder(folder, labels="mine.tsv")) == {"x": 1, "y": 1}


def test_stylegans_labels_may_be_null(folder):
    (folder / "dataset.json").write_text(json.dumps({"labels": None}))
    assert labels_of(Folder(folder)) == {"images": 6}
    (folder / "dataset.json").write_text(json.dumps({"labels": [["a0.png", 1], ["a1.png", 0]]}))
    assert labels_of(Folder(folder)) == {"0": 1, "1": 1}


def test_the_classes_are_part_of_the_request(folder):
    plain = Folder(folder).offer("train", None)
    (folder / "labels.csv").write_text("id,label\na0,x\na1,y\n")
    labelled = Folder(folder).offer("train", None)
    assert plain.request["listing"] != labelled.request["listing"]


def test_the_request_changes_when_an_image_changes_its_class(folder):
    requests = []
    for label in "xy":
        (folder / "labels.csv").write_text(f"id,label\na0,x\na1,{label}\na2,y\n")
        requests.append(Folder(folder).offer("train", None).request["listing"])
    assert requests[0] != requests[1]


@pytest.mark.parametrize(
    ("name", "source"),
    [("a.zip", "zip"), ("a.tar", "webdataset"), ("a.tar.gz", "webdataset"), ("train.parquet", "hf"), ("a.npz", "npz"),
     ("train-images-idx3-ubyte.gz", "mnist"), ("data_batch_1", "cifar10")],
)  # fmt: skip
def test_files_of_another_source_are_shown_the_way(tmp_path, name, source):
    (tmp_path / "set").mkdir()
    path = tmp_path / "set" / name
    path.write_bytes(b"x")
    with pytest.raises(DataError, match=f"set holds no image; read it with `distgan prepare {source}`"):
        Folder(tmp_path / "set").offer("train", None)
    with pytest.raises(
        DataError, match=f"is a file, not a directory of images; read it with `distgan prepare {source}`"
    ):
        Folder(path).offer("train", None)


def test_a_folder_without_an_image_is_said(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="holds no image, by the endings of the names"):
        Folder(tmp_path).offer("train", None)
    (tmp_path / "LICENSE").write_text("hello")
    with pytest.raises(DataError, match="class 'images' of .* holds no image that Pillow reads"):
        Folder(tmp_path).offer("train", None).load(False)


def test_options_that_contradict_each_other_are_refused(folder):
    with pytest.raises(
        DataError, match="--no-classes and --label-pattern say different things about where the classes"
    ):
        Folder(folder, no_classes=True, label_pattern="(a)").offer("train", None)
    with pytest.raises(DataError, match="--no-classes and --labels say"):
        Folder(folder, no_classes=True, label_column="x").offer("train", None)


NAMES = st.sampled_from(
    ["train", "test", "cat", "dog", "images", "annotations", "2023", "00000", "a.png", "b.jpg", "c.txt"]
)
PATHS = st.lists(st.lists(NAMES, min_size=1, max_size=4).map("/".join), min_size=1, max_size=12, unique=True)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=PATHS, split=st.sampled_from(["train", "test"]), no_classes=st.booleans())
def test_a_directory_and_a_zip_of_it_are_listed_alike(tmp_path_factory, names, split, no_classes):
    place = tmp_path_factory.mktemp("tree")
    files = [name for name in names if not any(other.startswith(f"{name}/") for other in names)]
    with zipfile.ZipFile(place / "a.zip", "w") as archive:
        for name in files:
            (place / "a" / name).parent.mkdir(parents=True, exist_ok=True)
            (place / "a" / name).write_bytes(b"x")
            archive.writestr(name, b"x")

    def listed(source):
        top = source(place / "a") if source is Directory else ZipArchive(place / "a.zip").top
        try:
            found = list_images(top, split, None, Labelled(no_classes=no_classes))
        except DataError as error:
            return f"{error}".replace("a.zip", "a")
        return {
            label: [folder.below(name) for folder, name in files] for label, files in found.files.items()
        }, found.why

    assert listed(Directory) == listed(ZipArchive)
