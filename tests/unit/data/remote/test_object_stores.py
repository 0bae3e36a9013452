"""Shards behind hf://, gs:// and az://: through fsspec, from a server of the hub on loopback and from stand-ins."""

import http.server
import json
import sys
import threading
import time

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from distgan.config.schema import DataConfig
from distgan.data.reference import open_data
from distgan.data.remote import store
from distgan.data.remote.store import NotThere, RemoteStore
from distgan.data.shards.reader import first_images
from distgan.utils.errors import DataError
from tests.support.foreign import pixels, webdataset_shards
from tests.support.shards import make


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "FIRST_PAUSE", 0.01)


class Bucket(MemoryFileSystem):
    """A cloud's file system without the cloud."""

    protocol = ("gs", "az")
    store: dict = {}  # noqa: RUF012 (as in its parent)
    pseudo_dirs: list = [""]  # noqa: RUF012
    failures: list = []  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        return f"/{path.partition('://')[2] or path}".replace("//", "/").rstrip("/")

    def _open(self, *args, **options):
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, BaseException):
                raise failure
            time.sleep(failure)
        return super()._open(*args, **options)


@pytest.fixture(params=["gs", "az"])
def bucket(request, tmp_path, monkeypatch):
    """The scheme, and a way to put a directory at SCHEME://bucket/set."""
    monkeypatch.setattr(Bucket, "store", {})
    monkeypatch.setattr(Bucket, "pseudo_dirs", [""])
    monkeypatch.setattr(Bucket, "failures", [])
    monkeypatch.setattr("distgan.data.remote.object_stores.OPTIONS", {})
    fsspec.register_implementation(request.param, Bucket, clobber=True)

    def put(directory):
        for path in directory.iterdir():
            Bucket().pipe(f"/bucket/set/{path.name}", path.read_bytes())

    yield request.param, put
    sys.modules["fsspec.registry"]._registry.pop(request.param, None)


def test_shards_of_any_maker_are_listed_and_read(bucket, tmp_path):
    scheme, put = bucket
    content = webdataset_shards(tmp_path / "in")
    put(tmp_path / "in")
    _, selection = open_data(DataConfig(path=f"{scheme}://bucket/set"))
    expected = np.stack([pixels(data) for data, _ in content]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(first_images(selection, 60)[0], expected)


def test_a_data_set_of_distgan_is_read_from_there(bucket, tmp_path):
    scheme, put = bucket
    make(tmp_path / "own", 40)
    put(tmp_path / "own")
    manifest, selection = open_data(DataConfig(path=f"{scheme}://bucket/set"))
    assert (manifest.source, len(first_images(selection, 40)[0])) == ("shapes", 40)


@pytest.mark.parametrize(
    ("failure", "reason", "tries"),
    [
        (PermissionError("hunter2"), "access is denied; set ", 1),
        (FileNotFoundError("hunter2"), "there is no such file", 1),
        (ConnectionResetError(104, "Connection reset by peer"), "the connection failed: Connection reset", 2),
        (RuntimeError("hunter2"), "the connection failed: RuntimeError", 2),
        (1.0, "it stalled: nothing came for 0.2 s", 2),
    ],
)
def test_failures_are_tried_again_unless_they_would_stay_and_tell_no_secret(bucket, failure, reason, tries):
    scheme, _ = bucket
    Bucket.failures += [failure] * 2
    with pytest.raises(DataError, match=reason) as error:
        RemoteStore(f"{scheme}://bucket/set", 2, 0.2).read("x", 10)
    assert "hunter2" not in str(error.value)
    assert len(Bucket.failures) == 2 - tries
    assert isinstance(error.value, NotThere) == isinstance(failure, FileNotFoundError)


def test_a_missing_library_names_its_extra(monkeypatch):
    def missing(*_args, **_options):
        raise ImportError("no")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    for scheme, extra in (("gs", "gcs"), ("az", "azure")):
        with pytest.raises(DataError, match=rf'{scheme}:// needs an extra; pip install "distgan\[{extra}\]"'):
            RemoteStore(f"{scheme}://b/x").read("manifest.json", 10)


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hugging Face hub as a data set's files need. `files`: by path; a token may be asked for."""

    files: dict = {}  # noqa: RUF012
    token = ""

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.token and self.headers.get("Authorization") != f"Bearer {self.token}":
            return self._answer(401, b"{}")
        path = self.path.split("?")[0]
        if path.startswith("/api/datasets/me/set/tree/main"):
            folder = path.removeprefix("/api/datasets/me/set/tree/main").strip("/")
            entries = [{"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                       for name, data in self.files.items() if name.rpartition("/")[0] == folder]  # fmt: skip
            return self._answer(200 if entries else 404, json.dumps(entries).encode())
        if path.startswith("/api/datasets/me/set"):
            return self._answer(200, json.dumps({"id": "me/set", "sha": "0" * 40, "siblings": []}).encode())
        data = self.files.get(path.removeprefix("/datasets/me/set/resolve/main/"))
        if data is None:
            return self._answer(404, b"{}", **{"X-Error-Code": "EntryNotFound"})
        if span := self.headers.get("Range"):
            start, end = (int(part) for part in span.removeprefix("bytes=").split("-"))
            return self._answer(206, data[start : end + 1])
        return self._answer(200, data)

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        paths = (
            json.loads(body)["paths"]
            if body.startswith(b"{")
            else [
                part.split("=")[1] for part in body.decode().replace("%2F", "/").split("&") if part.startswith("paths")
            ]
        )
        entries = [
            {"type": "file", "path": name, "size": len(self.files[name]), "oid": "0" * 40}
            for name in paths
            if name in self.files
        ]
        folders = [
            {"type": "directory", "path": name, "oid": "0" * 40}
            for name in paths
            if any(each.startswith(f"{name}/") for each in self.files)
        ]
        self._answer(200, json.dumps(entries + folders).encode())

    def _answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(body)),
            "ETag": '"0"',
            "X-Repo-Commit": "0" * 40,
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture
def hub(monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setattr(Hub, "files", {})
    monkeypatch.setattr(Hub, "token", "")
    import huggingface_hub.constants as constants

    url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("HF_ENDPOINT", url)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    yield server
    server.shutdown()
    server.server_close()


def test_shards_on_the_hub_are_listed_and_read(hub, tmp_path):
    content = webdataset_shards(tmp_path / "in")
    Hub.files.update({f"data/{path.name}": path.read_bytes() for path in (tmp_path / "in").iterdir()})
    _, selection = open_data(DataConfig(path="hf://datasets/me/set/data"))
    expected = np.stack([pixels(data) for data, _ in content]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(first_images(selection, 60)[0], expected)
    with pytest.raises(DataError, match=r"^hf://datasets/me/set/data/no.tar cannot be fetched: there is no such file"):
        open_data(DataConfig(path="hf://datasets/me/set/data/no.tar"))


def test_the_hub_s_token_comes_from_the_environment(hub, tmp_path, monkeypatch):
    webdataset_shards(tmp_path / "in", 20)
    Hub.files.update({f"data/{path.name}": path.read_bytes() for path in (tmp_path / "in").iterdir()})
    monkeypatch.setattr(Hub, "token", "hf_hunter2")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(DataError, match=r"access is denied; set HF_TOKEN") as error:
        open_data(DataConfig(path="hf://datasets/me/set/data/000000.tar"))
    assert "hunter2" not in str(error.value)
    monkeypatch.setenv("HF_TOKEN", "hf_hunter2")
    assert open_data(DataConfig(path="hf://datasets/me/set/data"))[0].count == 20
