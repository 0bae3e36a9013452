"""`prepare` as a whole: what lands on disk, when nothing is done, what is refused, and what an interruption leaves."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distgan.data import prepare as module
from distgan.data import publish
from distgan.data.prepare import Request, ensure, prepare, verify
from distgan.data.shards import writer
from distgan.data.shards.manifest import MANIFEST, load_manifest
from distgan.data.sources import shapes as shapes_source
from distgan.data.sources.folder import Folder
from distgan.data.sources.shapes import CLASSES, Shapes, render, truth
from distgan.utils.errors import DataError
from distgan.utils.files import ABANDONED_SECONDS
from tests.support.processes import ROOT

LINUX = sys.platform.startswith("linux")


def _request(out, count=50, **changes):
    return replace(Request(out, Shapes(count), shard_size=20), **changes)


def _files(directory):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}


def _python(code, *arguments, **options):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def test_shards_and_manifest_agree(tmp_path):
    manifest = prepare(_request(tmp_path / "a" / "b"), progress=False)
    out = tmp_path / "a" / "b"
    assert manifest == load_manifest(out)
    assert [shard.name for shard in manifest.shards] == [f"train-00000{i}.tar" for i in range(3)]
    assert [shard.count for shard in manifest.shards] == [20, 20, 10]
    assert manifest.class_counts == dict.fromkeys(CLASSES, 5)
    assert manifest.size == 32
    for shard in manifest.shards:
        assert hashlib.sha256((out / shard.name).read_bytes()).hexdigest() == shard.sha256
        assert (out / shard.name).stat().st_size == shard.bytes
        with tarfile.open(out / shard.name) as archive:
            members = archive.getmembers()
            labels = [int(archive.extractfile(member).read()) for member in members[1::2]]
        assert np.bincount(labels, minlength=10).tolist() == list(shard.class_counts)
        assert {(member.mtime, member.uid, member.gid, member.uname, member.mode) for member in members} == {
            (0, 0, 0, "", 0o644)
        }
    assert sorted(path.name for path in tmp_path.joinpath("a").iterdir()) == ["b"]  # nothing hidden is left


def test_webdataset_reads_every_image_back_with_its_label(tmp_path):
    wds = pytest.importorskip("webdataset")
    manifest = prepare(_request(tmp_path / "a"), progress=False)
    urls = [str(tmp_path / "a" / shard.name) for shard in manifest.shards]
    seen = {}
    for sample in wds.WebDataset(urls, shardshuffle=False).decode("rgb8"):
        assert len(sample["__key__"]) == 9
        seen[int(sample["__key__"])] = (sample["png"], sample["cls"])
    assert sorted(seen) == list(range(50))
    images = render(truth(0, "train", np.arange(50)))
    for key, (image, label) in seen.items():
        np.testing.assert_array_equal(image, images[key])
        assert label == key % 10


def test_the_same_request_gives_the_same_bytes(tmp_path):
    prepare(_request(tmp_path / "a"), progress=False)
    prepare(_request(tmp_path / "b"), progress=False)
    assert _files(tmp_path / "a") == _files(tmp_path / "b")
    prepare(_request(tmp_path / "c", seed=1), progress=False)
    assert _files(tmp_path / "a") != _files(tmp_path / "c")


def _keys(directory):
    keys = []
    for path in sorted(directory.glob("*.tar")):
        with tarfile.open(path) as archive:
            keys += [int(name[:9]) for name in archive.getnames() if name.endswith(".png")]
    return keys


def test_images_are_shuffled_unless_the_order_is_kept(tmp_path):
    prepare(_request(tmp_path / "a"), progress=False)
    prepare(_request(tmp_path / "b", keep_order=True), progress=False)
    assert _keys(tmp_path / "b") == list(range(50))
    assert _keys(tmp_path / "a") != list(range(50))
    assert sorted(_keys(tmp_path / "a")) == list(range(50))


def test_a_second_run_changes_nothing_and_opens_no_source(tmp_path, monkeypatch):
    first = prepare(_request(tmp_path / "a"), progress=False)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}
    monkeypatch.setattr(module, "write_shards", None)
    assert prepare(_request(tmp_path / "a"), progress=False) == first
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()} == before


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source": Shapes(60)}, "count = 50, not 60"),
        ({"source": Shapes(50, seed=1)}, "seed = 0, not 1"),
        ({"split": "test"}, "split = train, not test"),
        ({"shard_size": 10}, "shard_size = 20, not 10"),
        ({"classes": ("star",)}, "classes = "),
        ({"keep_order": True}, "keep_order = False, not True"),
        ({"seed": 1}, "order_seed = 0, not 1"),
    ],
)
def test_another_request_is_refused_unless_overwrite_is_set(tmp_path, changes, reason):
    prepare(_request(tmp_path / "a"), progress=False)
    before = _files(tmp_path / "a")
    with pytest.raises(DataError, match=f"{reason}.*--overwrite"):
        prepare(_request(tmp_path / "a", **changes), progress=False)
    assert _files(tmp_path / "a") == before
    prepare(_request(tmp_path / "a", overwrite=True, **changes), progress=False)
    prepare(_request(tmp_path / "b", **changes), progress=False)
    assert _files(tmp_path / "a") == _files(tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_replacing_works_where_two_directories_cannot_change_places_in_one_step(tmp_path, monkeypatch):
    prepare(_request(tmp_path / "a"), progress=False)
    monkeypatch.setattr(publish.ctypes, "CDLL", lambda *_, **__: object())
    assert prepare(_request(tmp_path / "a", count=30, overwrite=True), progress=False).count == 30
    assert verify(tmp_path / "a", progress=False).count == 30
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_directory_that_holds_something_else_is_never_touched(tmp_path, overwrite):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match=r"not a distgan data set \(thesis\.tex\)"):
        prepare(_request(tmp_path, overwrite=overwrite), progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_overwrite_refuses_a_data_set_with_other_files_in_it(tmp_path):
    prepare(_request(tmp_path / "a"), progress=False)
    (tmp_path / "a" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"\(notes\.txt\)"):
        prepare(_request(tmp_path / "a", overwrite=True), progress=False)
    assert (tmp_path / "a" / "notes.txt").read_text() == "mine"


def test_an_empty_directory_is_used(tmp_path):
    (tmp_path / "a").mkdir()
    assert prepare(_request(tmp_path / "a"), progress=False).count == 50


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_working_directory_is_not_replaced_but_a_finished_data_set_in_it_is_found(tmp_path, monkeypatch, overwrite):
    monkeypatch.chdir(tmp_path)
    for out in (Path("."), tmp_path, Path("../") / tmp_path.name):
        with pytest.raises(DataError, match="is the working directory, which would be replaced; choose "):
            prepare(_request(out, overwrite=overwrite), progress=False)
    assert not list(tmp_path.iterdir())
    prepare(_request(tmp_path / "own"), progress=False)
    monkeypatch.chdir(tmp_path / "own")
    assert prepare(_request(Path(".")), progress=False).count
    assert os.path.samefile(".", tmp_path / "own")


@pytest.mark.parametrize("inside", ["", "out", "cat/out", "../link/out"])
def test_a_target_in_the_directory_of_the_images_is_refused_at_once(tmp_path, inside):
    (tmp_path / "images" / "cat").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "images")
    request = Request(tmp_path / "images" / inside, Folder(tmp_path / "images"))
    with pytest.raises(DataError, match=r"all of which is read; choose an --out beside it: .*images-shards"):
        prepare(request, progress=False)
    assert not (tmp_path / "images" / "out").exists()


def test_a_link_to_a_directory_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    prepare(_request(tmp_path / "link"), progress=False)
    assert (tmp_path / "link").is_symlink()
    assert verify(tmp_path / "real", progress=False).count == 50


def test_a_missing_or_short_shard_is_found_without_verify(tmp_path):
    prepare(_request(tmp_path / "a"), progress=False)
    shard = tmp_path / "a" / "train-000001.tar"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"train-000001\.tar is damaged: .*another size.*--overwrite"):
        prepare(_request(tmp_path / "a"), progress=False)
    shard.unlink()
    with pytest.raises(DataError, match=r"train-000001\.tar is damaged: it is missing"):
        prepare(_request(tmp_path / "a"), progress=False)
    prepare(_request(tmp_path / "a", overwrite=True), progress=False)
    assert verify(tmp_path / "a", progress=False).count == 50


def test_verify_finds_one_flipped_bit(tmp_path):
    prepare(_request(tmp_path / "a"), progress=False)
    shard = tmp_path / "a" / "train-000002.tar"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    prepare(_request(tmp_path / "a"), progress=False)  # the fast look does not read the shards
    with pytest.raises(DataError, match=r"train-000002\.tar is damaged: its sha256"):
        verify(tmp_path / "a", progress=False)
    shard.unlink()
    with pytest.raises(DataError, match=r"train-000002\.tar is damaged: No such file"):
        verify(tmp_path / "a", progress=False)
    with pytest.raises(DataError, match="does not exist"):
        verify(tmp_path / "nothing", progress=False)


def test_a_target_that_is_a_file_or_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(DataError, match=r"cannot be written: .* a file"):
            prepare(_request(out), progress=False)


@pytest.mark.needs("user")
def test_a_target_without_permission_is_refused(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    with pytest.raises(DataError, match="cannot be written: Permission denied"):
        prepare(_request(tmp_path / "locked" / "data"), progress=False)


@pytest.mark.skipif(not LINUX, reason="needs a directory that nobody can write to: /proc")
def test_a_target_on_a_file_system_that_takes_no_files_is_refused():
    with pytest.raises(DataError, match=r"/proc/distgan/data cannot be written: .*choose another --out"):
        prepare(_request(Path("/proc/distgan/data")), progress=False)


@pytest.mark.skipif(not LINUX, reason="needs a mount point: /dev/shm")
def test_a_mount_point_is_refused_with_a_directory_below_it():
    if not os.path.ismount("/dev/shm") or os.listdir("/dev/shm"):
        pytest.skip("/dev/shm is not an empty mount point here")
    with pytest.raises(DataError, match="is a mount point and cannot be replaced; choose /dev/shm/data"):
        prepare(_request(Path("/dev/shm")), progress=False)


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
def test_a_full_target_is_an_error_with_the_room_and_leaves_nothing(tmp_path):
    code = (
        "import resource, sys; from pathlib import Path; from distgan.data.prepare import *;\n"
        "from distgan.data.sources.shapes import Shapes\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try: prepare(Request(Path(sys.argv[1]), Shapes(500)), False)\n"
        "except DataError as error: print(error)\n"
    )
    output, errors = _python(code, tmp_path / "a").communicate()
    assert "cannot be written: File too large; about 2.7 MiB are needed, " in output, errors
    assert "MiB are free there; make room or choose another --out" in output
    assert list(tmp_path.iterdir()) == []


def test_no_space_left_is_told_apart_from_no_permission(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer._ShardFile, "_write", full)
    with pytest.raises(DataError, match=r"No space left on device; about 0\.3 MiB are needed, .* MiB are free there"):
        prepare(_request(tmp_path / "a"), progress=False)
    assert list(tmp_path.iterdir()) == []


SLOW = (  # a run that says when it is half done, and then waits
    "import sys, time; from pathlib import Path; from distgan.data import prepare as p\n"
    "from distgan.data.shards import writer\n"
    "from distgan.data.sources.shapes import Shapes\n"
    "add = writer._ShardFile.add\n"
    "def slow(self, *a):\n"
    "    add(self, *a)\n"
    "    if a[0] == 25: print('half', flush=True); time.sleep(60)\n"
    "writer._ShardFile.add = slow\n"
    "p.prepare(p.Request(Path(sys.argv[1]), Shapes(50), shard_size=20, keep_order=True), False)\n"
)


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_an_interrupted_run_leaves_nothing_that_passes_for_complete_and_the_next_cleans_up(tmp_path, name):
    process = _python(SLOW, tmp_path / "a")
    assert process.stdout.readline() == "half\n"
    process.send_signal(getattr(signal, name))
    process.communicate()
    left = list(tmp_path.iterdir())
    assert all(path.name.startswith(".a.") and not (path / MANIFEST).exists() for path in left)
    assert len(left) == (0 if name == "SIGINT" else 1)
    assert prepare(_request(tmp_path / "a"), progress=False).count == 50
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_unfinished_directory_of_a_running_process_is_left_alone(tmp_path):
    process = _python(SLOW, tmp_path / "a")
    assert process.stdout.readline() == "half\n"
    try:
        prepare(_request(tmp_path / "a"), progress=False)
        assert len(list(tmp_path.glob(".a.*.tmp"))) == 1
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", ["a", "a[1]*"])
def test_another_machines_unfinished_directory_is_removed_once_it_has_been_silent_for_long(tmp_path, name):
    directory, foreign = tmp_path / f".{name}.00000000-1-abcd.tmp", tmp_path / ".a1b.00000000-1-abcd.tmp"
    directory.mkdir()
    prepare(_request(tmp_path / name), progress=False)
    assert directory.exists()
    foreign.mkdir()
    old = time.time() - 2 * ABANDONED_SECONDS
    os.utime(directory, (old, old))
    os.utime(foreign, (old, old))
    prepare(_request(tmp_path / name, overwrite=True), progress=False)
    assert not directory.exists()
    assert foreign.exists()


def test_the_loser_of_a_race_takes_the_winners_data_set(tmp_path, monkeypatch):
    """Another process finishes while this one writes."""
    winner = []
    write = module.write_shards

    def overtaken(*arguments):
        monkeypatch.setattr(module, "write_shards", write)
        winner.append(prepare(_request(tmp_path / "a"), progress=False))
        inode = (tmp_path / "a" / MANIFEST).stat().st_ino
        winner.append(inode)
        return write(*arguments)

    monkeypatch.setattr(module, "write_shards", overtaken)
    assert prepare(_request(tmp_path / "a"), progress=False) == winner[0]
    assert (tmp_path / "a" / MANIFEST).stat().st_ino == winner[1]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_loser_that_wanted_something_else_says_so(tmp_path, monkeypatch):
    write = module.write_shards

    def overtaken(*arguments):
        monkeypatch.setattr(module, "write_shards", write)
        prepare(_request(tmp_path / "a", count=30), progress=False)
        return write(*arguments)

    monkeypatch.setattr(module, "write_shards", overtaken)
    with pytest.raises(DataError, match="count = 30, not 50"):
        prepare(_request(tmp_path / "a"), progress=False)
    assert load_manifest(tmp_path / "a").count == 30


def test_ensure_makes_the_default_once_however_many_ask(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes_source, "Shapes", lambda: Shapes(40))
    found = []
    ask = [threading.Thread(target=lambda: found.append(ensure(tmp_path / "a", "shapes"))) for _ in range(4)]
    for thread in ask:
        thread.start()
    for thread in ask:
        thread.join()
    assert len(found) == 4
    assert all(manifest == found[0] for manifest in found)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    prepare(_request(tmp_path / "b"), progress=False)
    assert ensure(tmp_path / "b", "cifar10").source == "shapes"  # an existing data set is taken


def test_skipped_files_are_listed_and_do_not_count(tmp_path, capsys):
    for i in range(30):
        path = tmp_path / "set" / ("cat", "dog")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (i, 0, 0)).save(path)
        (path.parent / f"bad{i}.png").write_text("no image")
    request = Request(tmp_path / "a", Folder(tmp_path / "set", size=8), shard_size=7)
    with pytest.raises(
        DataError, match=r"^30 files cannot be used: .*bad\d+\.png is not an image that Pillow reads, and 22 more"
    ):
        prepare(request, progress=False)
    assert not (tmp_path / "a").exists()
    manifest = prepare(replace(request, source=Folder(tmp_path / "set", size=8, skip_bad=True)), progress=False)
    assert manifest.class_counts == {"cat": 15, "dog": 15}
    assert [shard.count for shard in manifest.shards] == [7, 7, 7, 7, 2]
    errors = capsys.readouterr().err
    assert errors.count("note: skipped: ") == 20
    assert "note: and 10 more (30 in all)" in errors


def test_a_class_without_one_readable_image_is_an_error(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "0.png").write_text("no image")
    Image.new("RGB", (8, 8)).save(tmp_path / "set" / "cat" / "1.png")
    with pytest.raises(DataError, match="class 'dog' has no image that can be read"):
        prepare(Request(tmp_path / "a", Folder(tmp_path / "set", size=8, skip_bad=True)), progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


@pytest.mark.long
@pytest.mark.needs("cifar10")
def test_fifty_thousand_real_images_take_less_than_a_minute(tmp_path):
    start = time.monotonic()
    source = Folder(Path(os.environ["DISTGAN_TEST_CIFAR10"]))
    manifest = prepare(Request(tmp_path / "a", source), progress=False)
    assert time.monotonic() - start < 60
    assert set(manifest.class_counts.values()) == {5000}
    assert json.loads((tmp_path / "a" / MANIFEST).read_text())["source"] == "folder"
