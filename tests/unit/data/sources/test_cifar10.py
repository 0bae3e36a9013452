"""Reading CIFAR-10's archives: both versions, every pickle protocol, damage, hostile content, and the download."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import pickle
import struct
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from distgan.cli.main import main
from distgan.data import bad_samples
from distgan.data.prepare import Request, prepare
from distgan.data.remote import store
from distgan.data.remote.store import RemoteStore
from distgan.data.sources import cifar, safe_pickle
from distgan.data.sources.cifar10 import CLASSES, KIND, Cifar10
from distgan.data.sources.official import Archive, fetch
from distgan.utils.errors import DataError
from tests.support.http_server import serve


def read_batch(content, name):
    return safe_pickle.read_batch(content, name, "CIFAR-10", "labels", 10)


def read_split(path, split):
    return cifar.read_split(path, split, KIND)


PER_BATCH = 20


def _batch(seed, count=PER_BATCH):
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, (count, 3072), dtype=np.uint8), [(i + seed) % 10 for i in range(count)]


BATCHES = {name: _batch(i) for i, name in enumerate((*KIND.files["py"]["train"], "test_batch"))}


def _python2(data, labels):
    """The bytes that Python 2 and NumPy 1 wrote for the official release: protocol 2, str as SHORT_BINSTRING."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    def number(value):
        return b"J" + struct.pack("<i", value)

    raw = data.tobytes()
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNN"
    dtype += number(-1) + number(-1) + b"K\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    array += b"(K\x01" + number(data.shape[0]) + number(data.shape[1]) + b"\x86" + dtype + b"\x89"
    array += b"T" + struct.pack("<i", len(raw)) + raw + b"tb"
    listed = b"](" + b"".join(number(label) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + listed + b"u."


def _pickled(protocol):
    return lambda data, labels: pickle.dumps({b"batch_label": b"x", b"labels": labels, b"data": data}, protocol)


def _with_text_keys(data, labels):
    data.flags.writeable = False
    return pickle.dumps({"batch_label": "x", "labels": labels, "data": data}, 5)


def _records(data, labels):
    return np.concatenate([np.array(labels, np.uint8)[:, None], data], axis=1).tobytes()


def _archive(path, members, folder="cifar-10-batches-py"):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"{folder}/{name}" if folder else name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def _members(write=None, suffix=""):
    write = write or _pickled(2)
    return {name + suffix: write(*batch) for name, batch in BATCHES.items()}


@pytest.fixture
def archive(tmp_path):
    return _archive(tmp_path / "cifar-10-python.tar.gz", _members())


@pytest.mark.parametrize(
    "write",
    [*map(_pickled, (0, 2, 4, 5)), _python2, _with_text_keys],
    ids=["protocol 0", "2", "4", "5", "Python 2", "text keys"],
)
def test_a_pickled_batch_is_read_in_every_protocol(write):
    data, labels = _batch(1)
    pixels, found = read_batch(write(data, labels), "batch")
    np.testing.assert_array_equal(pixels, data)
    assert found.tolist() == labels


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_module_paths_of_numpy_1_and_2_are_both_known(module):
    data, labels = _batch(2)
    content = _python2(data, labels).replace(b"numpy.core.multiarray", module)
    np.testing.assert_array_equal(read_batch(content, "batch")[0], data)


def test_a_table_in_column_order_is_read_right():
    data, labels = _batch(3)
    for protocol in (2, 5):
        content = pickle.dumps({b"labels": labels, b"data": np.asfortranarray(data)}, protocol)
        np.testing.assert_array_equal(read_batch(content, "batch")[0], data)


class _Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (os.system, "touch {}"),
        (eval, "open({!r}, 'w')"),
        (exec, "open({!r}, 'w')"),
        (np.fromfile, "{}"),
        (np.load, "{}"),
        (np.zeros, 10),
        (__import__, "os"),
        (getattr, "x"),
        (bytearray, 10),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_pickle_that_calls_anything_else_is_refused_and_runs_nothing(tmp_path, function, argument, protocol):
    trace = tmp_path / "ran"
    if isinstance(argument, str):
        argument = argument.format(str(trace))
    content = pickle.dumps({b"data": _Calls(function, argument), b"labels": [1]}, protocol)
    with pytest.raises(DataError, match=r"it refers to .*, which no CIFAR batch needs"):
        read_batch(content, "batch")
    assert not trace.exists()


def _globals(state):
    return b"\x80\x02c_codecs\nencode\n" + state + b"b."


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (_globals(b"}U\x01aK\x01s"), "it changes a function"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00utf-8\x86R.", "other than latin1"),
        (pickle.dumps({b"data": np.zeros((1, 3072), np.float64), b"labels": [1]}, 2), "not unsigned bytes"),
        (pickle.dumps({b"data": np.zeros((1, 3072), object), b"labels": [1]}, 2), "not unsigned bytes"),
        (pickle.dumps({b"data": np.zeros(3072, np.uint8), b"labels": [1]}, 2), "not a table of bytes"),
        (pickle.dumps({b"data": np.zeros((1, 3071), np.uint8), b"labels": [1]}, 2), r"it must be \(N, 3072\)"),
        (pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]}, 2), "for 1 labels"),
        (pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}, 2), "from 0 to 9"),
        (pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [True]}, 2), "from 0 to 9"),
        (pickle.dumps({b"data": np.zeros((0, 3072), np.uint8), b"labels": []}, 2), "holds no label"),
        (pickle.dumps({b"data": [1], b"labels": [1]}, 2), "is not a CIFAR-10 batch"),
        (pickle.dumps([1, 2], 2), "is not a CIFAR-10 batch"),
        (_python2(*_batch(1)).replace(b"J\x14\x00\x00\x00J", b"J\xff\xff\xff\x7fJ", 1), "does not fit its"),
        (_pickled(2)(*_batch(1))[:5000], "is damaged"),
        (b"P1\n.", "PERSID"),
        (b"", "is damaged"),
        (b"not a pickle", "is damaged"),
    ],
)
def test_a_pickle_of_the_wrong_form_is_refused_with_its_reason(content, reason):
    with pytest.raises(DataError, match=reason):
        read_batch(content, "archive: data_batch_1")


def _expected(split):
    batches = [BATCHES[name] for name in KIND.files["py"][split]]
    return np.concatenate([data for data, _ in batches]), [label for _, labels in batches for label in labels]


def test_the_python_version_the_binary_version_and_a_directory_hold_the_same_images(tmp_path, archive):
    binary = _archive(tmp_path / "cifar-10-binary.tar.gz", _members(_records, ".bin"), "cifar-10-batches-bin")
    with tarfile.open(archive) as file:
        file.extractall(tmp_path / "unpacked", **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    for path in (archive, binary, tmp_path / "unpacked", tmp_path / "unpacked" / "cifar-10-batches-py"):
        for split in ("train", "test"):
            pixels, labels = read_split(path, split)
            np.testing.assert_array_equal(pixels, _expected(split)[0])
            assert labels.tolist() == _expected(split)[1]


def test_planes_become_images_and_classes_keep_the_official_order(archive):
    offer = Cifar10(archive).offer("test", ("truck", "frog"))
    assert offer.classes == ("frog", "truck")
    images = offer.load(False)
    data, labels = BATCHES["test_batch"]
    official = np.array(labels)[images.keys]
    assert [CLASSES[label] for label in official] == [offer.classes[label] for label in images.labels]
    image = images.read(np.array([1]))[0]
    for channel in range(3):
        plane = data[images.keys[1], 1024 * channel : 1024 * (channel + 1)]
        np.testing.assert_array_equal(image[:, :, channel].ravel(), plane)


def test_size_fit_and_channels_make_other_images_and_their_defaults_the_same_data_set(tmp_path, archive, capsys):
    checksum = hashlib.md5(archive.read_bytes()).hexdigest()
    usual = Cifar10(archive).offer("test", None)
    assert (usual.request, usual.size, usual.channels) == ({"archive": checksum}, 32, 3)
    pixels = np.stack(usual.load(False).read(np.arange(4)))
    other = Cifar10(archive, size=40, fit="pad", channels="gray").offer("test", None)
    assert (other.size, other.channels) == (40, 1)
    assert other.request == {"archive": checksum, "size": 40, "fit": "pad", "channels": "gray"}
    images = other.load(False)
    gray = [np.asarray(Image.fromarray(each).convert("L")) for each in pixels]
    np.testing.assert_array_equal(np.stack(images.read(np.arange(4)))[:, 4:36, 4:36, 0], np.stack(gray))
    assert "20 colour image(s) were made grey" in images.notes
    prepare(Request(tmp_path / "out", Cifar10(archive), split="test"), progress=False)
    command = ("prepare", "cifar10", "--from", archive, "--out", tmp_path / "out", "--split", "test", "--quiet")
    assert main([*map(str, command), "--size", "32", "--channels", "rgb"]) == 0
    assert "already complete" in capsys.readouterr().out
    assert main([*map(str, command), "--size", "16"]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_a_parquet_file_is_shown_the_way(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    with pytest.raises(DataError, match=r"is a parquet file; it is read by `distgan prepare hf .*train.parquet`"):
        Cifar10(tmp_path / "train.parquet").offer("train", None).load(False)


def test_a_local_archive_with_another_checksum_is_taken_with_a_note(archive):
    notes = Cifar10(archive).offer("train", None).load(False).notes
    assert any("MD5 is neither of the two official ones" in note for note in notes)
    assert any("holds 100 of the official 50,000 train images" in note for note in notes)


def test_a_truncated_archive_is_refused_at_any_length(tmp_path, archive):
    content = archive.read_bytes()
    for length in (0, 5, len(content) // 2, len(content) - 100, len(content) - 1):
        short = tmp_path / "short.tar.gz"
        short.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"short\.tar\.gz (is damaged or cut short|is incomplete|holds no CIFAR)"):
            read_split(short, "train")


def test_a_flipped_byte_is_found_by_the_gzip_checksum(tmp_path, archive):
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged"):
        read_split(archive, "train")


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "cifar-10-batches-py/../../evil", "C:\\evil", "a\\..\\evil"])
def test_a_member_that_points_outside_is_refused_and_nothing_is_unpacked(tmp_path, name):
    path = _archive(tmp_path / "a.tar.gz", {name: b"x", **_members()}, folder="")
    with pytest.raises(DataError, match="points outside the archive"):
        read_split(path, "test")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tar.gz"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_link_or_a_device_in_the_archive_is_refused(tmp_path, kind):
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("cifar-10-batches-py/test_batch")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(DataError, match="is a link or a device"):
        read_split(path, "test")


def test_a_member_larger_than_a_batch_is_refused_unread(archive):
    with pytest.raises(DataError, match=r"data_batch_1 has .* bytes, a CIFAR-10 batch at most 1,000"):
        cifar.read_split(archive, "train", replace(KIND, max_batch_bytes=1000))


def test_an_archive_that_unpacks_without_end_is_stopped(monkeypatch, archive):
    monkeypatch.setattr(cifar, "MAX_ARCHIVE_BYTES", 100_000)
    with pytest.raises(DataError, match="unpacks to more than 100,000 bytes"):
        read_split(archive, "train")


def test_missing_batches_other_archives_and_missing_files_are_told_apart(tmp_path):
    members = _members()
    del members["data_batch_3"]
    with pytest.raises(DataError, match="is incomplete: data_batch_3 is missing"):
        read_split(_archive(tmp_path / "a.tar.gz", members), "train")
    with pytest.raises(DataError, match="holds no CIFAR-10 train batches"):
        read_split(_archive(tmp_path / "b.tar.gz", {"readme": b"hello"}), "train")
    with pytest.raises(DataError, match="holds no CIFAR-10 train batches"):
        read_split(tmp_path, "train")
    with pytest.raises(DataError, match="No such file or directory; leave --from out to download it"):
        Cifar10(tmp_path / "none.tar.gz").offer("train", None)


def test_binary_records_of_the_wrong_length_or_label_are_refused():
    data, labels = _batch(1)
    with pytest.raises(DataError, match="not a whole number of 3073-byte records"):
        cifar.read_records(_records(data, labels)[:-1], "x", KIND)
    with pytest.raises(DataError, match="record 2 has a label above 9"):
        cifar.read_records(_records(data[:3], [1, 2, 10]), "x", KIND)


NAME = "cifar-10-binary.tar.gz"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves the archive from the loopback interface."""
    monkeypatch.setattr(store, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(bad_samples, "_warned", [])
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "server").mkdir()
    _archive(tmp_path / "server" / NAME, _members(_records, ".bin"), "cifar-10-batches-bin")
    with serve(tmp_path / "server") as running:
        yield running


def _official(path):
    """An archive as if CIFAR's authors had published it."""
    content = path.read_bytes()
    return Archive(path.name, len(content), hashlib.md5(content).hexdigest())


def _remote(server):
    """The server's store, tried three times with 0.3 s of patience, and the archives in it."""
    return RemoteStore(server.url, tries=3, stall_seconds=0.3), (_official(server.root / NAME),)


def test_a_download_is_checked_kept_and_not_fetched_twice(tmp_path, server, capsys):
    remote, official = _remote(server)
    source = Cifar10(None, tmp_path / "downloads", remote, official)
    for _ in range(2):
        images = source.offer("train", None).load(True)
        assert len(images.keys) == 100
    assert server.requests[NAME] == 1
    assert "cifar-10-binary.tar.gz: 0." in capsys.readouterr().err  # MiB: progress was shown


def test_an_archive_in_the_download_directory_that_is_not_official_is_named_and_never_replaced(tmp_path, server):
    remote, official = _remote(server)
    (tmp_path / "downloads").mkdir()
    kept = tmp_path / "downloads" / NAME
    kept.write_bytes(b"mine")
    with pytest.raises(
        DataError, match=rf"^{kept} is there, but its MD5 is not .* with --from {kept}, or move it away"
    ):
        fetch(remote, official, tmp_path / "downloads", False)
    assert kept.read_bytes() == b"mine"
    assert server.requests[NAME] == 0


def test_an_archive_without_packing_is_read_and_other_packings_are_named(tmp_path, archive):
    plain = tmp_path / "cifar-10-python.tar"
    plain.write_bytes(gzip.decompress(archive.read_bytes()))
    np.testing.assert_array_equal(read_split(plain, "train")[0], read_split(archive, "train")[0])
    for pack, name in ((bz2.compress, "bzip2"), (lzma.compress, "xz"), (lambda _: b"PK\x03\x04...", "zip")):
        (tmp_path / "packed").write_bytes(pack(plain.read_bytes()))
        with pytest.raises(DataError, match=f"is packed with {name}, which is not read here; unpack it"):
            read_split(tmp_path / "packed", "train")


def _no_pickle(*_):
    raise AssertionError("a pickle is read")


def test_the_download_is_the_binary_archive_without_a_pickle_and_gives_the_bytes_of_the_python_one(
    tmp_path, server, archive, monkeypatch
):
    assert Cifar10().official[0].name == NAME
    (tmp_path / "kept").mkdir()
    archive.rename(tmp_path / "kept" / archive.name)  # from a download before there was a choice
    remote, official = _remote(server)
    both = (*official, _official(tmp_path / "kept" / archive.name))
    prepare(Request(tmp_path / "old", Cifar10(None, tmp_path / "kept", remote, both)), progress=False)
    assert server.requests[NAME] == 0
    monkeypatch.setattr(cifar, "read_batch", _no_pickle)
    prepare(Request(tmp_path / "new", Cifar10(None, tmp_path / "downloads", remote, both)), progress=False)
    assert server.requests[NAME] == 1
    old, new = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("old", "new"))
    assert sorted(old) == ["manifest.json", "train-000000.tar"]
    assert old == new


@pytest.mark.parametrize(
    "faults", [["stall", "stall"], ["truncated", 503], ["hang up", "wrong"], ["trickle", "endless"]]
)
def test_a_server_that_stalls_or_fails_twice_still_gives_the_archive(tmp_path, server, faults, capfd):
    server.faults = {NAME: list(faults)}
    path = fetch(*_remote(server), tmp_path / "downloads", False)
    assert path.read_bytes() == (server.root / NAME).read_bytes()
    assert [entry.name for entry in path.parent.iterdir()] == [NAME]
    assert server.requests[NAME] == 3
    assert capfd.readouterr().err.count("trying again in 0.0 s") == 2


@pytest.mark.parametrize(
    ("fault", "reason", "tries"),
    [
        (404, "cannot be fetched: the server answered 404", 1),
        ("to file", "cannot be fetched: the server answered 302 and leads to file://, which is not followed", 1),
        (503, r"cannot be fetched \(3 tries\): the server answered 503", 3),
        ("truncated", r"cannot be fetched \(3 tries\): it was cut short: .* of .* bytes came", 3),
        ("short", r"cannot be fetched \(3 tries\): its MD5 is .*, it should be", 3),
        ("wrong", r"cannot be fetched \(3 tries\): its MD5 is .*, it should be", 3),
        ("stall", r"cannot be fetched \(3 tries\): it stalled: nothing came for 0.3 s", 3),
        ("trickle", r"cannot be fetched \(3 tries\): it stalled: \d bytes came in ", 3),
        ("endless", r"cannot be fetched \(3 tries\): it has more than [\d,]+ bytes", 3),
    ],
)
def test_a_failed_download_says_why_and_leaves_nothing(tmp_path, server, fault, reason, tries):
    server.faults = {NAME: [fault] * 3}
    with pytest.raises(DataError, match=rf"^{server.url}/{NAME} {reason}.*--from PATH \(or put it in .*downloads\)$"):
        fetch(*_remote(server), tmp_path / "downloads", False)
    assert list((tmp_path / "downloads").glob("*")) == []
    assert server.requests[NAME] == tries


def test_a_server_that_is_not_there_is_named(tmp_path, server):
    remote = _remote(server)
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match=r"127\.0\.0\.1.* cannot be fetched \(3 tries\): .*refused; .*--from PATH"):
        fetch(*remote, tmp_path / "d", False)


def test_a_download_directory_that_cannot_be_made_is_named(tmp_path, server):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written: Not a directory; give another --download-dir"):
        fetch(*_remote(server), tmp_path / "file" / "d", False)


def test_a_killed_downloads_remains_go_after_an_hour(tmp_path, server):
    names = [f".{NAME}.{name}.tmp" for name in ("old", "new")]
    for name in names:
        (tmp_path / "d").mkdir(exist_ok=True)
        (tmp_path / "d" / name).write_bytes(b"part")
    os.utime(tmp_path / "d" / names[0], (0, 0))
    fetch(*_remote(server), tmp_path / "d", False)
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == [names[1], NAME]
