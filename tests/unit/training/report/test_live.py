"""The live page's server: what it answers, to whom, and what it never gives away."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import os
import re
import shutil
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from distgan.config.load import load_config
from distgan.training.report import live, run_reader
from distgan.training.report.live import serve
from distgan.training.report.run_reader import RunReader
from distgan.utils import local_server
from distgan.utils.errors import LaunchError
from distgan.utils.local_server import BYTES, TRIED, LocalServer
from tests.support.runs import lines

EVIL = "<script>alert('x')</script>\x1b[2J\u202e"


def png(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and holds nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.fixture
def run(tmp_path) -> Path:
    directory = tmp_path / "runs" / "first"
    (directory / "samples").mkdir(parents=True)
    config = load_config("quickstart", ["run.name=first", f"run.dir={tmp_path / 'runs'}", "train.images=4000"])
    (directory / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    rows = [{"images": n, "loss/d": 0.5, "loss/g": 1.5, "speed/images_per_second": 10.0} for n in range(100, 1100, 100)]
    lines(directory / "metrics.jsonl", rows)
    for images in (0, 500, 1000):
        (directory / "samples" / f"fakes-{images:09d}.png").write_bytes(png(4, 4))
    return directory


@pytest.fixture(autouse=True)
def looks_every_time(monkeypatch):
    monkeypatch.setattr(live, "MIN_SECONDS", 0.0)


@contextlib.contextmanager
def served(*run_dirs: Path) -> Iterator[LocalServer]:
    with serve(run_dirs, 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()


def get(server: LocalServer, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    with contextlib.closing(connection):
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read()


def parts(server: LocalServer) -> dict[str, str]:
    return json.loads(get(server, "/parts.json")[2])


def test_the_page_has_the_curves_the_grids_and_the_state_before_any_script_runs(run):
    with served(run) as server:
        status, headers, body = get(server, "/")
    text = body.decode()
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<polyline" in text
    assert "1,000 of 4,000" in text
    assert re.findall(r'src="/grids/0/(fakes-\d+\.png)\?\d+"', text) == [
        f"fakes-{images:09d}.png" for images in (0, 500, 1000)
    ]


def test_new_lines_change_their_parts_only_and_nothing_new_is_answered_with_304(run):
    with served(run) as server:
        before = parts(server)
        etag = get(server, "/parts.json")[1]["ETag"]
        assert get(server, "/parts.json", If_None_Match=etag)[::2] == (304, b"")
        with (run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"images": 2000, "loss/d": 0.25}) + "\n")
        status, headers, body = get(server, "/parts.json", If_None_Match=etag)
        after = json.loads(body)
    assert status == 200
    assert headers["ETag"] != etag
    assert {name for name in before if before[name] != after[name]} == {"state", "health", "summary"}
    assert "D <b class=\"last\">0.25</b>" in after["health"]  # fmt: skip


def test_a_new_grid_comes_and_one_that_is_drawn_again_has_a_new_address(run):
    with served(run) as server:
        before = parts(server)["fakes"]
        time.sleep(0.02)
        (run / "samples" / "fakes-000001000.png").write_bytes(png(5, 5))
        (run / "samples" / "fakes-000001500.png").write_bytes(png(4, 4))
        (run / "samples" / "interpolation-000001500.png").write_bytes(png(4, 4))
        found = parts(server)
    old, new = (re.findall(r'src="([^"]*)"', text) for text in (before, found["fakes"]))
    assert old[:2] == new[:2]
    assert old[2] != new[2]
    assert len(new) == 4
    assert "after 1,500 images: generated, from one latent to the next" in found["interpolation"]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "10.0.0.1", "[::1]:8642", "", "127.0.0.1.evil.com", "localhost:x"]
)
def test_a_browser_that_asks_by_another_name_gets_a_sentence_and_nothing_else(run, host):
    with served(run) as server:
        for path in ("/", "/parts.json", "/live.js", "/grids/0/fakes-000000500.png"):
            status, _, body = get(server, path, Host=host)
            assert status == 403
            assert body.decode() == "This page is for a browser on this machine: open it as 127.0.0.1.\n"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:9000"])
def test_this_machine_s_names_are_answered_also_through_a_tunnel_with_another_port(run, host):
    with served(run) as server:
        assert get(server, "/", Host=host)[0] == 200


@pytest.mark.parametrize(
    ("training", "shown"), [(True, ["0", "500", "1,500"]), (False, ["0", "500", "1,500", "2,000"])]
)
def test_grids_of_a_part_that_is_trained_again_are_not_the_newest(run, training, shown):
    now = time.time()
    (run / "samples" / "fakes-000001000.png").unlink()
    for images, age in ((1500, 0), (2000, 60)):
        grid = run / "samples" / f"fakes-{images:09d}.png"
        grid.write_bytes(png(4, 4))
        os.utime(grid, (now - age,) * 2)
    if training:
        (run / ".lock").write_text("process 7 on another-machine")
        os.utime(run / ".lock", (now - 30,) * 2)
    with served(run) as server:
        assert re.findall("<figcaption>after (.*?) images", parts(server)["fakes"]) == shown


def test_a_grid_s_caption_has_the_score_of_its_moment(run):
    scores = {"values": {"fd_efficientnet_lite0": 61.237, "other": 1.0}}
    lines(run / "scores.jsonl", [{"images": 500, "scores": scores}])
    with served(run) as server:
        captions = re.findall("<figcaption>(.*?):", parts(server)["fakes"])
    assert captions == ["after 0 images", "after 500 images, fd_efficientnet_lite0 61.24", "after 1,000 images"]


def test_it_listens_on_loopback_only(run):
    with served(run) as server:
        assert server.server_address[0] == "127.0.0.1"


def test_every_answer_forbids_other_sources_and_other_sites(run):
    with served(run) as server:
        for path in ("/", "/parts.json", "/style.css", "/live.js", "/player.js", "/grids/0/fakes-000000500.png", "/no"):
            _, headers, _ = get(server, path)
            assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize(
    "path",
    ["/config.yaml", "/../config.yaml", "/grids/0/../config.yaml", "/grids/0/..%2fconfig.yaml", "/grids/0//etc/passwd",
     "/grids/1/fakes-000000500.png", "/grids/-1/fakes-000000500.png", "/grids/x/y", "/grids/", "/charts.py",
     "/parts.html.j2", "/grids/0/reals.png", "//etc/passwd", "/grids/0/fakes-000000007.png", "/%00", "//[", "/%ff"],
)  # fmt: skip
def test_nothing_is_served_but_the_page_and_the_grids_that_are_there(run, path):
    (run / "samples" / "reals.png").write_bytes(png(4, 4))
    with served(run) as server:
        assert get(server, path)[0] == 404


def test_it_takes_no_orders(run):
    with served(run) as server:
        for method in ("PUT", "DELETE"):
            assert get(server, "/", method)[0] == 501
        assert get(server, "/", "POST")[0] == 415
        assert get(server, "/", "POST", Content_Type=BYTES)[0] == 405
        status, headers, body = get(server, "/parts.json", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 100


def test_links_huge_and_damaged_images_are_not_served(run, tmp_path):
    secret = tmp_path / "fakes-000000001.png"
    secret.write_bytes(png(4, 4))
    samples = run / "samples"
    (samples / "fakes-000000001.png").symlink_to(secret)
    (samples / "fakes-000000002.png").write_bytes(png(60_000, 60_000))
    (samples / "fakes-000000003.png").write_bytes(b"<svg onload=alert(1)>")
    (samples / "fakes-000000004.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40_000_000))
    (samples / "fakes-000000005.png").mkdir()
    with served(run) as server:
        assert "fakes-000000001.png" not in parts(server)["fakes"]
        for number in range(1, 6):
            assert get(server, f"/grids/0/fakes-{number:09d}.png")[0] == 404
        assert get(server, "/grids/0/fakes-000000500.png")[0] == 200


def test_files_of_a_run_that_are_links_are_not_read(run, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text('{"images": 5000, "event": "hunter2", "text": "hunter2", "loss/hunter2": 1}\n')
    for name in ("config.yaml", "metrics.jsonl", "events.jsonl", "scores.jsonl"):
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(secret)
    shutil.rmtree(run / "samples")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "fakes-000000001.png").write_bytes(png(4, 4))
    (run / "samples").symlink_to(tmp_path / "other")
    with served(run) as server:
        text = get(server, "/")[2].decode()
        assert get(server, "/grids/0/fakes-000000001.png")[0] == 404
    assert "hunter2" not in text
    for name in ("config.yaml", "metrics.jsonl", "events.jsonl", "samples"):
        assert f"{name} is a link, which is not followed" in text


def test_hostile_text_is_escaped_wherever_it_stands(run):
    lines(run / "events.jsonl", [{"images": 1, "time": EVIL, "event": EVIL, "text": EVIL * 1000}])
    scores = {"protocol": {EVIL: EVIL}, "values": {EVIL: 1.5}, "real_values": {EVIL: 1.0}}
    lines(run / "scores.jsonl", [{"images": 10, "scores": scores}])
    lines(
        run / "metrics.jsonl",
        [
            {"images": 10, EVIL: 1.5, 'x" onload="alert(1)': 2, "loss/d": 1e308},
            {"images": 20, EVIL: 2.5, "loss/d": -1e308},
        ],
    )
    with (run / "config.yaml").open("a") as file:
        file.write(f"# {EVIL}\n")
    with served(run) as server:
        page = get(server, "/")[2].decode()
        every = "".join(parts(server).values())
    for text in (page, every):
        assert "<script>alert" not in text
        assert '" onload="alert' not in text
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "nan," not in text
        assert "&lt;script&gt;alert" in text


def test_before_the_first_second_of_a_run_it_says_what_it_waits_for(tmp_path):
    with served(tmp_path / "runs" / "new") as server:
        found = parts(server)
        assert f"There is no {tmp_path / 'runs' / 'new'} yet" in found["state"]
        assert "Nothing yet: there is no metrics.jsonl." in found["health"]
        (tmp_path / "runs" / "new").mkdir(parents=True)
        assert "No training is running, and there is no line of metrics yet" in parts(server)["state"]
        lines(tmp_path / "runs" / "new" / "metrics.jsonl", [{"images": 64, "loss/d": 0.5}])
        assert "<polyline" not in found["health"]
        assert "<polyline" in parts(server)["health"]


def test_a_long_run_is_a_small_page(run):
    with (run / "metrics.jsonl").open("w") as file:
        for n in range(30_000):
            file.write(json.dumps({"images": n, "loss/d": n % 7, "loss/g": n % 11, "grad_norm/d": n % 13}) + "\n")
    with served(run) as server:
        status, headers, body = get(server, "/parts.json", Accept_Encoding="gzip")
    assert status == 200
    assert headers["Content-Encoding"] == "gzip"
    assert len(body) < 60_000
    assert len(gzip.decompress(body)) < 200_000
    assert "29,999" in json.loads(gzip.decompress(body))["state"]


def test_however_many_pages_ask_the_files_are_looked_at_once_a_second(run, monkeypatch):
    monkeypatch.setattr(live, "MIN_SECONDS", 60.0)
    looks = []
    read = RunReader.read
    monkeypatch.setattr(RunReader, "read", lambda self: looks.append(1) or read(self))
    with served(run) as server:
        threads = [threading.Thread(target=parts, args=(server,)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(looks) == 1


def test_what_has_not_changed_is_not_drawn_again(run, monkeypatch):
    drawn = []
    draw = live.run_parts
    monkeypatch.setattr(live, "run_parts", lambda *arguments, **more: drawn.append(1) or draw(*arguments, **more))
    with served(run) as server:
        for _ in range(3):
            parts(server)
        assert len(drawn) == 1
        with (run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"images": 2000, "loss/d": 0.25}) + "\n")
        parts(server)
        assert len(drawn) == 2
        (run / "samples" / "fakes-000002000.png").write_bytes(png(4, 4))
        parts(server)
        assert len(drawn) == 3


def test_the_newest_checkpoint_is_read_once_and_again_when_there_is_a_newer_one(run, monkeypatch):
    reads = []
    read = run_reader.read_json
    monkeypatch.setattr(run_reader, "read_json", lambda path, most: reads.append(path) or read(path, most))
    with served(run) as server:
        assert "processes" not in parts(server)["summary"]
        for step, processes in ((5, 2), (7, 3)):
            directory = run / "checkpoints" / f"step-{step:09d}"
            directory.mkdir(parents=True)
            (directory / "state.json").write_text(json.dumps({"processes": processes, "versions": {"torch": "2.9"}}))
            for _ in range(3):
                assert f"processes</th><td>{processes}</td>" in parts(server)["summary"]
        assert "torch 2.9" in parts(server)["summary"]
    assert [path.parent.name for path in reads] == ["step-000000005", "step-000000007"]


def test_the_slider_has_a_bounded_number_of_images_with_both_ends(run):
    for images in range(2000, 2000 + 500):
        (run / "samples" / f"fakes-{images:09d}.png").write_bytes(b"")
    with served(run) as server:
        names = re.findall(r'data-frame="(fakes-\d+)', parts(server)["fakes"])
    assert len(names) == live.MAX_FRAMES
    assert (names[0], names[-1]) == ("fakes-000000000", "fakes-000002499")


def test_a_port_that_is_taken_is_a_sentence_and_without_a_choice_the_next_one_is_taken(run, monkeypatch):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        with pytest.raises(LaunchError, match=f"--port {port} cannot be had: Address already in use; give another"):
            serve([run], port)
        monkeypatch.setattr(local_server, "PORT", port)
        with serve([run]) as server:
            assert port < server.server_address[1] < port + TRIED
        monkeypatch.setattr(local_server, "TRIED", 1)
        with pytest.raises(LaunchError, match=f"no port from {port} to {port} is free"):
            serve([run])
