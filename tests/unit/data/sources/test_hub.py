"""Parquet files of images, here and on a hub: columns, labels, splits, parts, and what is refused.

The hub is a local server that speaks the two requests that huggingface_hub makes. The layout of the files is what
`datasets` 5.2 writes with `Dataset.to_parquet`: a struct of bytes and path, and the features as JSON in the metadata.
"""

import io
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

import distgan
from distgan.data.prepare import Request, prepare
from distgan.data.sources import parquet as reader
from distgan.data.sources.hub import Hf, _config_of, _split_of
from distgan.utils.errors import DataError
from tests.support.image_files import noise
from tests.support.processes import environment

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

IMAGE = {"_type": "Image"}
KIND = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
CLASSES = {"names": ["plane", "bird", "cat"], "_type": "ClassLabel"}


def png(pixels, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def images(count, size=32):
    return [noise(size, size, 3, seed=i) for i in range(count)]


def written(path, columns, features=None, **options):
    """A file as `datasets` writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if features is not None:
        info = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": info})
    pq.write_table(table, path, **options)
    return path


def structs(pictures, path="/etc/passwd"):
    return pa.array([{"bytes": None if each is None else png(each), "path": path} for each in pictures])


def standard(folder, count=10, split="train"):
    columns = {"img": structs(images(count)), "label": pa.array([i % 3 for i in range(count)])}
    return written(folder / f"{split}-00000-of-00001.parquet", columns, {"img": IMAGE, "label": CLASSES})


def read_all(source, split="train", classes=None):
    offer = source.offer(split, classes)
    found = offer.load(False)
    return offer, found, found.read(np.arange(len(found.labels)))


@pytest.mark.parametrize("options", [{}, {"row_group_size": 3}, {"compression": "zstd"}, {"use_dictionary": False}])
def test_the_pixels_and_the_names_of_the_classes_are_those_of_the_file(tmp_path, options):
    columns = {"img": structs(images(10)), "label": pa.array([i % 3 for i in range(10)])}
    path = written(tmp_path / "data" / "train-0.parquet", columns, {"img": IMAGE, "label": CLASSES}, **options)
    for place in (tmp_path, path):
        offer, found, pixels = read_all(Hf(f"{place}"))
        assert offer.classes == ("plane", "bird", "cat")
        assert found.labels.tolist() == [i % 3 for i in range(10)]
        np.testing.assert_array_equal(np.stack(pixels), np.stack(images(10)))


def test_some_classes_of_several_files_and_the_call(tmp_path):
    for number in range(3):
        columns = {"img": structs(images(10)[number * 3 : number * 3 + 3]), "label": pa.array([0, 1, 2])}
        written(tmp_path / f"train-{number}.parquet", columns, {"img": IMAGE, "label": CLASSES})
    standard(tmp_path, 4, "test")
    _, _, pixels = read_all(Hf(f"{tmp_path}"), classes=("bird",))
    np.testing.assert_array_equal(np.stack(pixels), np.stack(images(10)[1:9:3]))
    manifest = distgan.prepare("hf", tmp_path / "out", dataset=f"{tmp_path}", split="test", progress=False)
    assert (manifest.count, manifest.split, manifest.source) == (4, "test", "hf")
    assert manifest.class_counts == {"plane": 2, "bird": 1, "cat": 1}


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (pa.array(["b", "a", "b", "a"]), ("a", "b")),
        (pa.array([10, 9, 10, 9]), ("9", "10")),
        (pa.array([True, False, True, False]), ("False", "True")),
        (pa.array(["b", "a", "b", "a"]).dictionary_encode(), ("a", "b")),
        (pa.DictionaryArray.from_arrays([2, 0, None, 0], ["a", "unused", "c"]), ("a", "c")),
        (pa.array([3, 4, 3, 4]).dictionary_encode(), ("3", "4")),
        (pa.array([1.0, 0.0, float("nan"), None]), ("0", "1")),
        (pa.array(["b", "a", "b", "a"], pa.large_string()), ("a", "b")),
    ],
)
def test_labels_without_names_are_their_own_names(tmp_path, labels, classes):
    path = written(tmp_path / "train.parquet", {"image": pa.array([png(each) for each in images(4)]), "label": labels})
    assert Hf(f"{path}").offer("train", None).classes == classes


def test_a_column_called_label_that_holds_no_classes_is_refused_not_passed_over(tmp_path):
    for number, (label, sentence) in enumerate(
        (
            (pa.array([[0, 1], [1]]), r"column label is list<.*>, no numbers or names of classes; name another one"),
            (pa.array([0.0, 0.5]), "column label holds 0.5, which is no number of a class; name another one"),
        )
    ):
        path = written(tmp_path / f"{number}.parquet", {"image": structs(images(2)), "label": label})
        with pytest.raises(DataError, match=sentence):
            Hf(f"{path}").offer("train", None)
        assert Hf(f"{path}", label_column="none").offer("train", None).classes == ("images",)


OTHER_FILES = [
    ({"label": pa.array([0, 1])}, {"image": IMAGE, "label": {**CLASSES, "names": ["bird", "plane", "cat"]}},
     "it has the class bird, not plane"),
    ({"label": pa.array(["bird", "cat"])}, None, "it has labels that are names, not numbers"),
    ({"breed": pa.array([0, 1])}, None, "it has the labels in column breed, not label"),
    ({}, None, "it has the labels in column none, not label"),
]  # fmt: skip


@pytest.mark.parametrize(("labels", "features", "sentence"), OTHER_FILES)
def test_files_that_do_not_agree_on_columns_and_classes_are_refused_by_name(tmp_path, labels, features, sentence):
    written(tmp_path / "train-1.parquet", {"image": structs(images(2)), **labels}, features)
    first = {"image": structs(images(2)), "label": pa.array([0, 1])}
    written(tmp_path / "train-0.parquet", first, {"image": IMAGE, "label": CLASSES})
    with pytest.raises(DataError, match=rf"train-1\.parquet does not go with .*train-0\.parquet: {sentence}; name one"):
        Hf(f"{tmp_path}").offer("train", None)


def test_names_that_differ_far_down_a_long_list_are_seen(tmp_path):
    for number in range(2):
        names = {**CLASSES, "names": [*(f"a long name {i}" for i in range(99)), f"last {number}"]}
        columns = {"image": structs(images(2)), "label": pa.array([0, 99])}
        written(tmp_path / f"train-{number}.parquet", columns, {"image": IMAGE, "label": names})
    with pytest.raises(DataError, match="it has the class last 1, not last 0; name one file"):
        Hf(f"{tmp_path}").offer("train", None)


def test_names_of_classes_do_not_go_with_labels_that_are_names(tmp_path):
    columns = {"image": structs(images(2)), "label": pa.array(["b", "a"])}
    path = written(tmp_path / "train.parquet", columns, {"image": IMAGE, "label": CLASSES})
    assert Hf(f"{path}").offer("train", None).classes == ("a", "b")


def test_images_without_a_label_are_left_out_and_classes_without_images_noted(tmp_path, caplog):
    columns = {"image": structs(images(5)), "label": pa.array([0, -1, None, 0, 1])}
    path = written(tmp_path / "train.parquet", columns, {"image": IMAGE, "label": CLASSES})
    with caplog.at_level("INFO"):
        offer, _, pixels = read_all(Hf(f"{path}"))
    assert (offer.classes, len(pixels)) == (("plane", "bird"), 3)
    np.testing.assert_array_equal(pixels[1], images(5)[3])


@pytest.mark.parametrize("minus", [pa.array([-1, 1, -1, 1]), pa.array(["-1", "1", "-1", "1"])])
def test_minus_one_is_a_class_only_in_a_column_that_was_named_as_in_tables(tmp_path, minus):
    path = f"{written(tmp_path / 'train.parquet', {'image': structs(images(4)), 'label': minus})}"
    assert Hf(path).offer("train", None).classes == ("1",)
    assert Hf(path, label_column="label").offer("train", None).classes == ("-1", "1")


@pytest.mark.parametrize(("names", "labels", "sentence"), [
    ([], [0, 0], "column label holds 0, and there are 0 names of classes"),
    ([""], [0, 0], "column label holds '', which is no name of a class"),
    (["a"], [0, 1], "column label holds 1, and there are 1 names of classes"),
])  # fmt: skip
def test_a_label_without_a_name_is_one_sentence(tmp_path, names, labels, sentence):
    columns = {"image": structs(images(2)), "label": pa.array(labels)}
    path = written(tmp_path / "train.parquet", columns, {"image": IMAGE, "label": {**CLASSES, "names": names}})
    with pytest.raises(DataError, match=sentence):
        Hf(f"{path}").offer("train", None)


def test_files_with_other_content_of_the_same_size_are_another_data_set(tmp_path):
    columns = {"image": structs(images(4)), "label": pa.array([0, 1, 0, 1])}
    plain = {"use_dictionary": False, "compression": "none"}
    path = written(tmp_path / "train.parquet", columns, {"image": IMAGE, "label": CLASSES}, **plain)
    prepare(Request(tmp_path / "out", Hf(f"{path}")), progress=False)
    prepare(Request(tmp_path / "out", Hf(f"{path}")), progress=False)
    size, columns = path.stat().st_size, {**columns, "label": pa.array([1, 0, 1, 0])}
    written(path, columns, {"image": IMAGE, "label": CLASSES}, **plain)
    assert path.stat().st_size == size
    with pytest.raises(DataError, match="holds a data set made with files = .* --overwrite"):
        prepare(Request(tmp_path / "out", Hf(f"{path}")), progress=False)


def test_a_path_is_never_opened(tmp_path):
    there = tmp_path / "a.png"
    there.write_bytes(png(images(1)[0]))
    columns = {"image": structs([images(1)[0], None], f"{there}")}
    source = Hf(f"{written(tmp_path / 'train.parquet', columns)}")
    with pytest.raises(
        DataError, match=r"train\.parquet: row 1 holds no bytes, and a path is not opened; .*--skip-bad"
    ):
        prepare(Request(tmp_path / "out", source), progress=False)
    made = prepare(Request(tmp_path / "out", Hf(source.dataset, skip_bad=True)), progress=False)
    assert made.count == 1


def test_a_file_of_paths_only_is_shown_the_way(tmp_path):
    path = written(tmp_path / "train.parquet", {"image": structs([None, None]).cast(KIND)})
    with pytest.raises(DataError, match="column image.bytes holds no bytes, only paths, .* `distgan prepare folder`"):
        Hf(f"{path}").offer("train", None).load(False)


def test_columns_are_named_where_they_are_not_clear(tmp_path):
    columns = {"left": structs(images(4)), "right": structs(images(4)[::-1]), "fine_label": pa.array([0, 1, 0, 1]),
               "coarse_label": pa.array([0, 0, 1, 1])}  # fmt: skip
    features = {"fine_label": CLASSES, "coarse_label": CLASSES}
    path = f"{written(tmp_path / 'train.parquet', columns, features)}"
    with pytest.raises(DataError, match="has the image columns left, right; name one with --image-column"):
        Hf(path).offer("train", None)
    offer, found, pixels = read_all(Hf(path, image_column="right", label_column="coarse_label"))
    np.testing.assert_array_equal(pixels[0], images(4)[3])
    assert (offer.request["image_column"], found.labels.tolist()) == ("right.bytes", [0, 0, 1, 1])
    assert read_all(Hf(path, image_column="left"))[1].labels.tolist() == [0, 1, 0, 1]
    with pytest.raises(DataError, match=r"column rihgt \(--image-column\) does not exist; nearest: right"):
        Hf(path, image_column="rihgt").offer("train", None)
    with pytest.raises(DataError, match=r"column fine_label \(--image-column\) is int64, not bytes"):
        Hf(path, image_column="fine_label").offer("train", None)
    with pytest.raises(
        DataError, match=r"has no column label of numbers or names .*there are fine_label, coarse_label"
    ):
        Hf(path, image_column="left", label_column="label").offer("train", None)
    text = written(tmp_path / "b" / "train.parquet", {"text": pa.array(["a"])})
    with pytest.raises(DataError, match=r"has no column of encoded images \(bytes\); its columns are text"):
        Hf(f"{text}").offer("train", None)


NAMES = [
    ("data/train-00000-of-00002-a09b74b3ef9c3b56.parquet", "", "train"),
    ("plain_text/train/0000.parquet", "plain_text", "train"),
    ("default/partial-train/0000.parquet", "default", "train"),
    ("cifar100/validation-00000-of-00001.parquet", "cifar100", "val"),
    ("full/unlabeled-0.parquet", "full", "unused"),
    ("test.parquet", "", "test"),
    ("0000.parquet", "", None),
]


@pytest.mark.parametrize(("name", "config", "split"), NAMES)
def test_parts_and_splits_are_read_from_the_names(name, config, split):
    assert (_config_of(name), _split_of(name)) == (config, split)


def test_missing_splits_and_parts_are_named(tmp_path):
    for config in ("small", "large"):
        standard(tmp_path / config, 4)
    with pytest.raises(DataError, match="has the parts large, small; name one with --config"):
        Hf(f"{tmp_path}").offer("train", None)
    with pytest.raises(DataError, match=r"has no part smal \(--config\); nearest: small"):
        Hf(f"{tmp_path}", config="smal").offer("train", None)
    with pytest.raises(DataError, match="has no test split, only train; pass --split train"):
        Hf(f"{tmp_path}", config="small").offer("test", None)
    assert Hf(f"{tmp_path}", config="large").offer("train", None).classes == ("plane", "bird", "cat")


def test_what_is_no_parquet_is_shown_the_way(tmp_path):
    ways = {
        "a.arrow": "its .arrow files are of `save_to_disk`; write parquet",
        "a.tar": "read it with `distgan prepare webdataset",
        "a.jpg": "read it with `distgan prepare folder",
        "a.txt": "give another revision",
    }
    for name, way in ways.items():
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).write_bytes(b"x")
        with pytest.raises(DataError, match=f"holds no parquet file; .*{way}"):
            Hf(f"{folder}").offer("train", None)
    (tmp_path / "train.parquet").write_bytes(b"PAR1 hello PAR1")
    with pytest.raises(DataError, match=r"train\.parquet is not a parquet file, or is damaged"):
        Hf(f"{tmp_path / 'train.parquet'}").offer("train", None)
    for text in ("./nowhere", "/nowhere", "a/b/c", "a b", "a" * 5000):
        with pytest.raises(DataError, match="does not exist here, and is no name of a data set on the hub"):
            Hf(text).offer("train", None)


def test_a_dictionary_that_repeats_one_image_without_end_is_stopped(tmp_path, monkeypatch):
    column = pa.array([png(noise(64, 64, 3))] * 20_000)
    path = written(tmp_path / "train.parquet", {"image": column})
    assert path.stat().st_size < 40_000
    monkeypatch.setattr(reader, "MAX_RATIO", 100)
    with pytest.raises(DataError, match="is not safe: it unpacks to more than"):
        Hf(f"{path}").offer("train", None).load(False)


def test_rows_images_and_classes_are_bounded(tmp_path, monkeypatch):
    path = f"{standard(tmp_path)}"
    for name, value, reason in (("MAX_ROWS", 9, "says that it has 10 rows; 9 are the most"),
                                ("MAX_IMAGE_BYTES", 99, "holds an image of .* bytes; 99 are the most"),
                                ("MAX_CLASSES", 2, "column label has more than 2 values")):  # fmt: skip
        monkeypatch.setattr(reader, name, value)
        with pytest.raises(DataError, match=reason):
            Hf(path).offer("train", None).load(False)
        monkeypatch.undo()


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    path = f"{standard(tmp_path)}"
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DataError, match=r'parquet files need pyarrow; pip install "distgan\[parquet\]"'):
        Hf(path).offer("train", None)


class Hub(BaseHTTPRequestHandler):
    """The part of the hub's interface that a download uses. Repositories: {name: {revision: {file: bytes}}}."""

    there: ClassVar[dict]
    asked: ClassVar[list[str]]

    def do_GET(self):
        self.asked.append(self.path)
        parts = self.path.split("?")[0].strip("/").replace("%2F", "/").split("/")
        if parts[:2] == ["api", "datasets"]:
            name, revision = "/".join(parts[2:4]), "/".join(parts[5:]) or "main"
            files = self.there.get(name, {}).get(revision)
            if files is None:
                return self.reply(404, b"{}", "RevisionNotFound" if name in self.there else "RepoNotFound")
            siblings = [{"rfilename": file} for file in files]
            return self.reply(
                200, json.dumps({"id": name, "sha": self.commit(revision), "siblings": siblings}).encode()
            )
        name, commit, file = "/".join(parts[1:3]), parts[4], "/".join(parts[5:])
        for revision, files in self.there.get(name, {}).items():
            if commit in (revision, self.commit(revision)) and file in files:
                return self.reply(200, files[file], commit=commit)
        return self.reply(404, b"", "EntryNotFound")

    do_HEAD = do_GET

    @staticmethod
    def commit(revision):
        return f"{sum(revision.encode()):040x}"

    def reply(self, status, content, error=None, commit=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in (
            ("X-Error-Code", error),
            ("X-Repo-Commit", commit),
            ("ETag", commit and f'"{len(content)}"'),
        ):
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path):
    """Runs `distgan prepare hf` in a process of its own, against a hub with two data sets."""
    file = standard(tmp_path / "made").read_bytes()

    class Mine(Hub):
        there: ClassVar = {
            "me/birds": {"main": {"README.md": b"", "data/train-0.parquet": file}, "v1": {"train.parquet": file}},
            "me/script": {"main": {"script.py": b"x"}, "refs/convert/parquet": {"default/train/0000.parquet": file}},
            "me/none": {"main": {"script.py": b"x"}},
        }
        asked: ClassVar[list[str]] = []

    server = ThreadingHTTPServer(("127.0.0.1", 0), Mine)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    variables = {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }

    def run(name, *options):
        arguments = ["prepare", "hf", name, "--out", str(tmp_path / "out"), "--quiet", "--overwrite", *options]
        command = [sys.executable, "-m", "distgan", *arguments]
        return subprocess.run(command, env=environment(**variables), capture_output=True, text=True)

    try:
        yield run, Mine.asked
    finally:
        server.shutdown()
        server.server_close()


def test_a_data_set_is_downloaded_by_name_once(hub):
    run, asked = hub
    for name in ("me/birds", "me/birds@v1", "hf://datasets/me/birds", "hf://datasets/me/birds@v1/train.parquet"):
        result = run(name)
        assert result.returncode == 0, result.stderr
        assert ": 10 train images of 32x32 in 3 classes" in result.stdout
    assert sum("/resolve/" in path for path in asked) <= 8  # the third and the fourth time from the cache


def test_one_that_has_only_a_script_is_read_from_the_hubs_own_copy(hub):
    result = hub[0]("me/script")
    assert result.returncode == 0, result.stderr
    assert ": 10 train images" in result.stdout


def test_what_is_not_on_the_hub_is_one_sentence(hub):
    for name, sentence in (
        (
            "me/dogs",
            "me/dogs is no directory here, and cannot be listed on the hub: it is not on the hub under this name",
        ),
        ("me/birds@v9", "me/birds at v9 is no directory here, and cannot be listed on the hub: it is not on the hub"),
        ("me/none", "me/none holds no parquet file; give another revision (NAME@REVISION), or a directory"),
    ):
        result = hub[0](name)
        assert result.returncode == 2
        assert sentence in result.stderr
        assert "Traceback" not in result.stderr
