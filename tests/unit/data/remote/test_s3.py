"""Shards from a real S3-compatible server (moto, as a process of its own on loopback), through AWS_ENDPOINT_URL."""

from __future__ import annotations

import builtins
import itertools
import socket
import subprocess
import sys
import time
import urllib.request

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
from tests.support.http_server import serve
from tests.support.processes import held_port
from tests.support.shards import make

SHARD = "train-000001.tar"
SECRET = "hunter2hunter2"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    path = tmp_path_factory.mktemp("s3") / "data"
    make(path, 120)
    return path


@pytest.fixture(scope="module")
def endpoint(shapes):
    """A server that holds the data set at s3://shards/some/prefix."""
    with held_port() as port:
        url = f"http://127.0.0.1:{port}"
        command = (sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port))
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for _ in range(1200):
            try:
                opener.open(f"{url}/moto-api/", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, "the S3 server did not start"
                time.sleep(0.05)
    try:
        import boto3

        client = boto3.session.Session("x", "x", region_name="us-east-1").client("s3", endpoint_url=url)
        client.create_bucket(Bucket="shards")
        for path in shapes.iterdir():
            client.put_object(Bucket="shards", Key=f"some/prefix/{path.name}", Body=path.read_bytes())
        client.put_object(Bucket="shards", Key=f"wrong/{SHARD}", Body=b"x" * (shapes / SHARD).stat().st_size)
        yield url
    finally:
        process.kill()
        process.wait()


@pytest.fixture(autouse=True)
def account(monkeypatch, tmp_path):
    from distgan.data.remote import s3

    s3._cached_client.cache_clear()
    monkeypatch.setattr(store, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(bad_samples, "_warned", [])
    for name in ("HTTP_PROXY", "http_proxy", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


def fetched(url, shapes):
    shard = next(shard for shard in load_manifest(shapes).shards if shard.name == SHARD)
    with RemoteStore(url, tries=3, stall_seconds=0.3).open(SHARD, shard.bytes, shard.sha256) as file:
        return file.read()


@pytest.mark.parametrize(("mode", "workers"), [("resident", 0), ("stream", 0), ("stream", 2)])
def test_batches_from_s3_are_those_of_the_local_directory(shapes, endpoint, monkeypatch, mode, workers):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    batches = []
    for path in (shapes, "s3://shards/some/prefix/"):
        config = DataConfig(path=path, mode=mode, workers=workers, shuffle_buffer=50)
        source = ImageDataset(config, 0, Rows(0, 20, 20), torch.device("cpu"), show=False).batches(1)
        batches.append(list(itertools.islice(source, 9)))
        source.close()
    for (images, labels), (expected, classes) in zip(*batches, strict=True):
        assert torch.equal(images, expected)
        assert torch.equal(labels, classes)


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("s3://shards/none", "cannot be fetched: S3 answered 404 NoSuchKey"),
        ("s3://no-such-bucket/x", "cannot be fetched: S3 answered 404 NoSuchBucket"),
        ("s3://sh!rds", "cannot be fetched: boto3 cannot ask for it: ParamValidationError"),
        ("s3://shards/wrong", r"cannot be fetched \(3 tries\): its sha256 is not the manifest's"),
    ],
)
def test_what_is_not_there_or_wrong_is_named(shapes, endpoint, monkeypatch, url, cause):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(DataError, match=rf"^{url}/{SHARD} {cause}$"):
        fetched(url, shapes)


@pytest.mark.parametrize(
    ("fault", "cause", "requests"),
    [
        (503, r" \(3 tries\): S3 answered 503", 3),
        (403, ": S3 answered 403", 1),
        ("stall", r" \(3 tries\): it stalled: nothing came for 0.3 s", 3),
        ("trickle", r" \(3 tries\): it stalled: \d+ bytes came in 0.\d+ s", 3),
        ("truncated", r" \(3 tries\): it was cut short.*", 3),
        ("wrong", r" \(3 tries\): its sha256 is not the manifest's", 3),
        ("hang up", r" \(3 tries\): the connection failed: .*", 3),
    ],
)
def test_an_s3_server_that_misbehaves_is_tried_again_as_a_web_server_is(shapes, monkeypatch, fault, cause, requests):
    with serve(shapes) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url.removesuffix("/data"))
        if requests == 3:
            server.faults = {SHARD: [fault] * 2}
            assert fetched("s3://shards/data", shapes) == (shapes / SHARD).read_bytes()
            assert server.requests[SHARD] == 3
        server.requests.clear()
        server.faults = {SHARD: [fault] * 3}
        with pytest.raises(DataError, match=rf"^s3://shards/data/{SHARD} cannot be fetched{cause}$") as caught:
            fetched("s3://shards/data", shapes)
        assert server.requests[SHARD] == requests
        assert SECRET not in str(caught.value)
        assert "AKID" not in str(caught.value)


def test_an_endpoint_that_nobody_listens_at_is_named(shapes, monkeypatch, capfd):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(
            DataError, match=r" cannot be fetched \(3 tries\): the connection failed: Connection refused$"
        ):
            fetched("s3://shards/data", shapes)
    assert SECRET not in capfd.readouterr().err


def test_without_credentials_it_says_how_to_give_them(shapes, endpoint, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(
        DataError, match="there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or"
    ):
        fetched("s3://shards/some/prefix", shapes)


def test_without_boto3_it_names_the_extra(shapes, monkeypatch):
    original = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] in ("boto3", "botocore"):
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r'cannot be fetched: s3:// needs boto3; pip install "distgan\[s3\]"$'):
        fetched("s3://shards/data", shapes)
