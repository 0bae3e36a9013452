"""Shards over HTTP from a server that misbehaves: the same batches as local ones, tries, the cache, no secrets."""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import shutil
import socket
import time

import pytest
import torch

from distgan.config.schema import DataConfig
from distgan.data import bad_samples
from distgan.data.dataset import ImageDataset
from distgan.data.remote import store
from distgan.data.remote.store import RemoteStore
from distgan.data.shards.manifest import load_manifest
from distgan.utils.errors import DataError
from distgan.utils.rng import Rows
from tests.support import forks
from tests.support.http_server import serve
from tests.support.shards import make, take

SHARD = "train-000001.tar"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """120 images in three shards."""
    path = tmp_path_factory.mktemp("remote") / "data"
    make(path, 120)
    return path


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(store, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(bad_samples, "_warned", [])
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server(shapes):
    with serve(shapes) as running:
        yield running


def reals(path, batch=20, **config):
    config = {"mode": "stream", "workers": 0, "shuffle_buffer": 50, "stall_seconds": 0.3, "tries": 3, **config}
    return ImageDataset(DataConfig(path=path, **config), 0, Rows(0, batch, batch), torch.device("cpu"), show=False)


def same(one, two):
    return all(torch.equal(a, b) for pair in zip(one, two, strict=True) for a, b in zip(*pair, strict=True))


def fetched(server, shapes, name=SHARD, **options):
    """The shard, fetched with three tries."""
    shard = next(shard for shard in load_manifest(shapes).shards if shard.name == name)
    remote = RemoteStore(
        server if isinstance(server, str) else server.url, **{"tries": 3, "stall_seconds": 0.3, **options}
    )
    with remote.open(name, shard.bytes, shard.sha256) as file:
        return file.read()


@pytest.mark.parametrize(("mode", "workers"), [("resident", 0), ("stream", 0), ("stream", 2)])
@pytest.mark.parametrize("cache", [False, True])
def test_batches_over_http_are_those_of_the_local_directory(shapes, server, tmp_path, mode, workers, cache):
    server.faults = {SHARD: ["wrong", 503], "train-000002.tar": ["truncated"], "manifest.json": [500]}
    options = {"mode": mode, "workers": workers}
    local = take(reals(shapes, **options), 9, 2)
    assert same(take(reals(server.url, cache=tmp_path / "c" if cache else None, **options), 9, 2), local)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (500, "the server answered 500 Internal Server Error"),
        (503, "the server answered 503 Service Unavailable"),
        (429, "the server answered 429 Too Many Requests"),
        ("stall", "it stalled: nothing came for 0.3 s"),
        ("trickle", r"it stalled: \d bytes came in 0.\d+ s"),
        ("hang up", "the server closed the connection without an answer"),
        ("truncated", r"it was cut short: [\d,]+ of [\d,]+ bytes came"),
        ("short", r"it has [\d,]+ bytes, its manifest says [\d,]+"),
        ("endless", r"it has more than [\d,]+ bytes, which is all that it should have"),
        ("wrong", "its sha256 is not the manifest's"),
    ],
)
def test_a_passing_fault_is_tried_again_from_the_start_and_a_lasting_one_is_named_with_its_url(
    shapes, server, fault, cause
):
    server.faults = {SHARD: [fault] * 2}
    assert fetched(server, shapes) == (shapes / SHARD).read_bytes()
    assert server.requests[SHARD] == 3
    server.faults = {SHARD: [fault] * 3}
    with pytest.raises(DataError, match=rf"^{server.url}/{SHARD} cannot be fetched \(3 tries\): {cause}$"):
        fetched(server, shapes)
    assert server.requests[SHARD] == 6
    assert not any("Range" in headers for headers in server.headers)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (404, "the server answered 404 Not Found; is it there, under this name?"),
        (403, "the server answered 403 Forbidden"),
        (401, "the server answered 401 Unauthorized; put user and password for this host into ~/.netrc"),
        (410, "the server answered 410 Gone"),
        ("to file", "the server answered 302 and leads to file://, which is not followed"),
        ("to ftp", "the server answered 302 and leads to ftp://, which is not followed"),
        ("round", "the server answered 302 again and again, or leads nowhere"),
    ],
)
def test_what_will_not_pass_is_not_tried_again(shapes, server, fault, cause):
    server.faults = {SHARD: [fault]}
    with pytest.raises(DataError) as caught:
        fetched(server, shapes)
    assert str(caught.value) == f"{server.url}/{SHARD} cannot be fetched: {cause}"
    assert server.requests[SHARD] == (1 if fault != "round" else server.requests[SHARD])


def test_a_refused_connection_is_tried_again(shapes, capfd):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/data"
        with pytest.raises(DataError) as caught:
            fetched(url, shapes)
    assert str(caught.value) == f"{url}/{SHARD} cannot be fetched (3 tries): the connection failed: Connection refused"
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("Connection refused; trying again in 0.0 s, " in line for line in lines)


def test_an_unknown_host_is_named(shapes):
    with pytest.raises(DataError, match=r"^http://nowhere.invalid/x/.* cannot be fetched: the connection failed: "):
        fetched("http://nowhere.invalid/x", shapes, tries=1)


def test_a_redirection_is_followed_and_its_query_is_in_no_message(shapes, server, capfd):
    server.faults = {SHARD: ["to signed"]}
    assert fetched(server, shapes) == (shapes / SHARD).read_bytes()
    server.faults = {SHARD: ["to signed", 500, "to signed", "stall", "to signed", 403]}
    with pytest.raises(DataError) as caught:
        fetched(server, shapes)
    server.faults = {SHARD: ["to ftp"]}
    with pytest.raises(DataError) as other:
        fetched(server, shapes)
    for text in (str(caught.value), str(other.value), capfd.readouterr().err):
        assert "hunter2" not in text


def test_the_body_of_a_redirection_is_not_read_and_a_host_that_is_none_is_named(shapes, server):
    server.faults = {SHARD: ["redirect without end"]}
    start = time.monotonic()
    assert fetched(server, shapes) == (shapes / SHARD).read_bytes()
    assert time.monotonic() - start < 60
    server.faults = {SHARD: ["to no host"]}
    with pytest.raises(DataError, match="cannot be fetched"):
        fetched(server, shapes, tries=1)


def test_a_password_comes_from_netrc_and_is_in_no_message_and_no_redirection(shapes, server, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password hunter2\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    server.faults = {SHARD: ["to signed", 401]}
    with pytest.raises(DataError) as caught:
        fetched(server, shapes)
    assert "hunter2" not in str(caught.value)
    assert [("Authorization" in headers) for headers in server.headers] == [True, False]


@pytest.mark.parametrize(
    "url",
    [
        *("https://me:hunter2@host/x", "https://host/x?sig=hunter2", "https://host/x#hunter2", "s3://b/x?hunter2"),
        *("https://", "https:///x", "http://host:hunter2/x", "http://[::1/x", "http://a b/x"),
    ],
)
def test_a_url_that_is_wrong_or_holds_a_secret_is_refused_without_repeating_it(url):
    from distgan.config.load import load_config
    from distgan.utils.errors import ConfigError

    with pytest.raises(ConfigError, match=r"data.path: a URL must read .*; credentials belong in ") as caught:
        load_config("quickstart", [f"data.path={url}", "data.prepare=null"])
    assert "hunter2" not in str(caught.value)


def test_a_data_set_at_a_url_is_not_prepared_and_other_schemes_are_refused():
    from distgan.config.load import load_config
    from distgan.utils.errors import ConfigError

    with pytest.raises(ConfigError, match="prepare=shapes makes a data set in a directory, not at path=s3://b/x; set"):
        load_config("quickstart", ["data.path=s3://b/x", "data.prepare=shapes"])
    with pytest.raises(ConfigError, match="data.path: ftp:// cannot be read; use a directory, https://HOST/DIR, s3:"):
        load_config("quickstart", ["data.path=ftp://b/x", "data.prepare=null"])


def test_a_place_without_a_manifest_and_a_page_instead_of_one_are_named(shapes, server, tmp_path):
    server.faults = {"manifest.json": [404]}
    with pytest.raises(DataError, match=rf"^{server.url}/no/manifest.json cannot be fetched: the server answered 404"):
        reals(f"{server.url}/no")
    (tmp_path / "manifest.json").write_text("<html>login</html>")
    with serve(tmp_path) as other:
        with pytest.raises(
            DataError, match=rf"^{other.url}/manifest.json is damaged, of another version, or not made by distgan: "
        ):
            reals(other.url)
        assert other.requests["manifest.json"] == 1


def test_a_path_may_have_any_letters(shapes, server):
    assert fetched(f"{server.url}/é/[x]", shapes) == (shapes / SHARD).read_bytes()


def test_a_manifest_is_read_up_to_a_limit(server):
    with pytest.raises(DataError, match="manifest.json cannot be fetched: it has more than 100 bytes"):
        RemoteStore(server.url, tries=1).read("manifest.json", 100)


def test_pauses_double_up_to_a_limit_and_differ_by_rank(monkeypatch):
    monkeypatch.setattr(store, "FIRST_PAUSE", 0.5)
    for number in range(1, 2000):
        middle = min(0.5 * 2 ** min(number - 1, 20), 30)
        assert 0.5 * middle <= store._pause("http://h/a", number) < 1.5 * middle
    pauses = []
    for rank in ("0", "1", "0"):
        monkeypatch.setenv("RANK", rank)
        pauses.append(store._pause("http://h/a", 1))
    assert pauses[0] == pauses[2] != pauses[1]


def test_nothing_is_left_open_or_on_disk(shapes, server, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    server.faults = {SHARD: ["wrong", "truncated", 404]}
    source = reals(server.url)
    with pytest.raises(DataError, match="404"):
        take(source, 12)
    take(source, 12)
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_full_disk_is_named_and_not_tried_again(shapes, server, monkeypatch):
    calls = []

    def full(*_arguments):
        calls.append(1)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "save_blocks", full)
    with pytest.raises(DataError, match=r"^a shard cannot be kept in .*: No space left on device; set TMPDIR to a "):
        fetched(server, shapes)
    assert len(calls) == 1


# --- the cache


def test_what_is_in_the_cache_is_not_asked_for(shapes, server, tmp_path):
    cache = tmp_path / "some" / "cache"
    first = take(reals(server.url, cache=cache, mode="resident"), 3)
    assert [server.requests[shard.name] for shard in load_manifest(shapes).shards] == [1, 1, 1]
    assert same(first, take(reals(server.url, cache=cache, mode="resident"), 3))
    assert [server.requests[shard.name] for shard in load_manifest(shapes).shards] == [1, 1, 1]
    names = {f"{shard.sha256}.tar" for shard in load_manifest(shapes).shards}
    assert {path.name for path in cache.iterdir() if not path.name.endswith(".lock")} == names


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_a_damaged_file_in_the_cache_is_fetched_again(shapes, server, tmp_path, damage):
    whole = fetched(server, shapes, cache=tmp_path)
    (kept,) = tmp_path.glob("*.tar")
    bad = {"flipped": whole[:900] + bytes([whole[900] ^ 1]) + whole[901:], "cut": whole[:5000], "empty": b""}[damage]
    kept.write_bytes(bad)
    os.utime(kept, ns=(1, 1))
    assert fetched(server, shapes, cache=tmp_path) == whole == kept.read_bytes()
    assert server.requests[SHARD] == 2


def test_a_fault_leaves_nothing_in_the_cache_and_the_remains_of_a_kill_are_removed(shapes, server, tmp_path):
    sha256 = next(shard.sha256 for shard in load_manifest(shapes).shards if shard.name == SHARD)
    (tmp_path / f".{sha256}.tar.dead.tmp").write_bytes(b"half")
    server.faults = {SHARD: ["wrong"] * 3}
    with pytest.raises(DataError, match="sha256"):
        fetched(server, shapes, cache=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f".{sha256[:2]}.lock"]


def test_a_cache_that_cannot_be_written_is_named(shapes, server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"^data.cache=.*/file cannot be used: Not a directory; set another directory"):
        fetched(server, shapes, cache=tmp_path / "file")


def _fill(url, shapes, cache, results):
    data = [fetched(url, shapes, shard.name, cache=cache) for shard in load_manifest(shapes).shards]
    results.put(data == [(shapes / shard.name).read_bytes() for shard in load_manifest(shapes).shards])


def test_processes_that_fill_one_cache_at_once_fetch_each_shard_once(shapes, server, tmp_path):
    results = forks.context().Queue()
    processes = [
        forks.context().Process(target=_fill, args=(server.url, shapes, tmp_path / "cache", results)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    assert [results.get(timeout=30) for _ in processes] == [True] * 3
    for process in processes:
        process.join(10)
    assert set(server.requests.values()) == {1}


def test_a_process_killed_while_it_fills_the_cache_leaves_the_way_free(shapes, server, tmp_path):
    server.faults = {SHARD: ["stall"]}
    patient = {"cache": tmp_path, "stall_seconds": 60}
    process = forks.context().Process(target=fetched, args=(server.url, shapes), kwargs=patient)
    process.start()
    while not list(tmp_path.glob(".*.tmp")):
        time.sleep(0.01)
    process.kill()
    process.join()
    assert fetched(server, shapes, cache=tmp_path) == (shapes / SHARD).read_bytes()
    assert not list(tmp_path.glob(".*.tmp"))


# --- workers


def test_a_worker_s_error_names_the_url(shapes, server):
    server.faults = {SHARD: [404] * 9}
    with pytest.raises(DataError, match=rf"^{server.url}/{SHARD} cannot be fetched: the server answered 404"):
        take(reals(server.url, workers=2), 12)


@pytest.mark.slow
def test_a_worker_that_waits_for_a_silent_server_does_not_keep_a_stopped_trainer(shapes, server):
    server.faults = {shard.name: ["stall"] * 9 for shard in load_manifest(shapes).shards[1:]}
    batches = reals(server.url, workers=1, stall_seconds=60, batch=10, shuffle=False).batches(0)
    next(batches)
    (worker,) = multiprocessing.active_children()
    while not server.requests[SHARD]:
        time.sleep(0.02)
    start = time.monotonic()
    batches.close()
    while worker.is_alive():  # not `join`: DataLoader's thread may be about to note the end that it has seen
        assert time.monotonic() - start < 40, "the server is silent for 60 s"
        time.sleep(0.02)


def test_a_moved_copy_is_read_as_a_directory_was(shapes, tmp_path):
    shutil.copytree(shapes, tmp_path / "copy")
    assert same(take(reals(tmp_path / "copy"), 3), take(reals(shapes), 3))
    assert re.fullmatch(r"[0-9a-f]{64}", reals(shapes).manifest_digest)
