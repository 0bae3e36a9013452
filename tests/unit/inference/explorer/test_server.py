"""The explorer's server: what it answers, to whom, and what it never gives away."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from distgan.inference.explorer.page import _argument, facts_of
from distgan.inference.explorer.server import MAX_IMAGES, MAX_SEEDS, Explorer, serve
from distgan.inference.generator import Generator, load_generator
from distgan.utils.local_server import BYTES, LocalServer
from tests.unit.inference.test_sampling import export

EVIL = "</script><script>alert(1)</script>\u202e"


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    return load_generator(
        export(tmp_path_factory.mktemp("explorer") / "g.safetensors", conditional=True, names=("a", EVIL))
    )


@pytest.fixture(scope="module")
def server(generator) -> Iterator[LocalServer]:
    with serve(Explorer(generator, EVIL, "distgan sample g.safetensors"), 0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        running.digest = generator.weight_digest
        yield running
        running.shutdown()


def ask(server: LocalServer, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    if body is not None:
        path += f"?{server.digest}"  # type: ignore[attr-defined]
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    sent = {} if body is None else {"Content-Type": BYTES}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    with contextlib.closing(connection):
        connection.request("GET" if body is None else "POST", path, body, sent)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.headers)


def rows(generator, *seeds: int) -> np.ndarray:
    weights = torch.nn.functional.one_hot(generator.labels(seeds), 2).float()
    return torch.cat([generator.latents(seeds), weights], 1).numpy()


def test_latents_of_seeds_and_images_of_latents_are_the_generator_s(server, generator):
    seeds = [0, 7, 2**63 - 1]
    status, body, _ = ask(server, "/latents", ",".join(map(str, seeds)).encode())
    assert status == 200
    assert torch.equal(torch.from_numpy(np.frombuffer(body, "<f4").reshape(3, -1).copy()), generator.latents(seeds))
    status, body, _ = ask(server, "/images", rows(generator, *seeds).tobytes())
    assert status == 200
    images = np.frombuffer(body, np.uint8).reshape(3, 3, 8, 8).astype(int)
    assert np.abs(images - generator.sample(seeds).numpy()).max() <= 1


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/latents", b"", "seeds are up to"),
        ("/latents", b"1,-1", "seeds are up to"),
        ("/latents", b"\xff", "seeds are up to"),
        ("/latents", b"1" * 19 + b"9", "seeds are up to"),
        ("/latents", b"9223372036854775808", "whole number from 0 to 2\\*\\*63 - 1".replace("\\", "")),
        ("/latents", b",".join([b"1"] * (MAX_SEEDS + 1)), "seeds are up to"),
        ("/images", b"", "bytes are not 1 to"),
        ("/images", bytes(41), "bytes are not 1 to"),
        ("/images", bytes(40 * (MAX_IMAGES + 1)), "bytes are not 1 to"),
        ("/images", np.full(10, np.nan, "<f4").tobytes(), "not finite"),
    ],
)
def test_a_wrong_question_is_answered_with_a_sentence(server, path, body, said):
    status, text, _ = ask(server, path, body)
    assert (status, said in text.decode()) == (400, True), text


def test_it_answers_only_this_machine_s_browser_and_its_own_page(server):
    assert ask(server, "/", Host="example.org")[0] == 403
    assert ask(server, "/images", bytes(40), Host="example.org")[0] == 403
    assert ask(server, "/images", bytes(40), Content_Type="text/plain")[0] == 415  # what a foreign page may send
    assert ask(server, "/latents", b"1", Content_Length="99999999999")[0] == 413
    _, _, headers = ask(server, "/")
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize(
    "path", ["/../page.py", "/page.py", "/%2e%2e/generator.py", "/body.html.j2", "//etc/passwd", "/nearest"]
)
def test_no_file_outside_its_own_is_served(server, path):
    assert ask(server, path)[0] == 404
    assert ask(server, path, b"x")[0] == 404


def test_hostile_names_stay_text(server):
    status, body, _ = ask(server, "/")
    page = body.decode()
    assert status == 200
    assert "<script>alert" not in page
    assert "\u202e" not in page
    assert "\\u003c/script>\\u003cscript>alert(1)" in page


def test_the_page_and_its_scripts_are_text_that_a_browser_takes(server):
    for path, kind in (("/", "text/html"), ("/style.css", "text/css"), ("/start.js", "text/javascript")):
        status, body, headers = ask(server, path)
        assert (status, headers["Content-Type"]) == (200, f"{kind}; charset=utf-8")
        assert len(body) > 500


def test_a_page_of_another_generator_is_told_to_load_again(server, generator):
    body = rows(generator, 1).tobytes()
    server.digest = "0" * 64
    status, text, _ = ask(server, "/images", body)
    server.digest = generator.weight_digest
    assert (status, text) == (409, b"Another generator is served here now: load the page again.\n")


def test_a_failure_is_told_and_the_server_goes_on(server, generator, monkeypatch):
    def fail(*_):
        raise MemoryError("no memory for this")

    with monkeypatch.context() as broken:
        broken.setattr(type(generator), "pixels", fail)
        status, text, _ = ask(server, "/images", rows(generator, 1).tobytes())
    assert (status, text) == (500, b"This failed on the server: no memory for this.\n")
    assert ask(server, "/images", rows(generator, 1).tobytes())[0] == 200


def test_a_class_that_cannot_be_typed_has_no_command():
    assert [_argument(name, place, ("a, b", EVIL)) for place, name in enumerate(("a, b", EVIL))] == ['"a, b"', "1"]
    names = ("1", "x\u202e", "a\"b'c,d")
    assert [_argument(name, place, names) for place, name in enumerate(names)] == ["1", None, None]


@pytest.mark.parametrize("scores", [{"values": 3}, {"values": {"fid": 10**400, "kid": float("nan"), "is": "x"}}, {}])
def test_scores_of_a_stranger_s_file_are_left_out_where_they_are_none(generator, scores):
    described = generator.description.model_copy(update={"scores": scores})
    other = Generator(generator.network, described, generator.weight_digest)
    assert facts_of(other, "t", "c")["about"].startswith("8x8 pixels, 2 classes, 100 images seen in training, weights ")
