"""A Space's page as it runs: `python app.py`, asked by gradio's client and seen in a browser."""

from __future__ import annotations

import os
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distgan.inference.generator import load_generator
from distgan.utils.images import to_grid
from tests.support.browser import browser
from tests.support.processes import held_port, kill_all, start
from tests.unit.inference.space.test_write import network, space

pytestmark = [pytest.mark.slow, pytest.mark.needs("gradio")]
HOSTILE = ("<img src=x onerror=alert(1)>", "**b** `c`", "frog")
TITLE = "<script>alert(2)</script> **cats**"


@pytest.fixture
def page(tmp_path):
    """The address of a running page, and its generator."""
    folder = tmp_path
    directory, _ = space(folder, TITLE, generator=network(), class_names=HOSTILE)
    with held_port() as port:
        variables = {"GRADIO_SERVER_PORT": str(port), "HF_HUB_OFFLINE": "1", "GRADIO_TEMP_DIR": str(folder / "tmp")}
        process = start([sys.executable, str(directory / "app.py")], folder / "log", **variables)
        url, end = f"http://127.0.0.1:{port}/", time.monotonic() + 120
        while not answers(url):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.2)
        try:
            yield url, load_generator(folder / "g.safetensors")
        finally:
            kill_all(process)


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_the_page_draws_what_distgan_draws_and_refuses_with_a_sentence(page, monkeypatch):
    url, generator = page
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    client = pytest.importorskip("gradio_client").Client(url, verbose=False)
    file = client.predict("0-8", HOSTILE[0], "frog", 0.0, 3.0, api_name="/draw")
    expected = to_grid(generator.sample(range(9), classes=HOSTILE[0]), 3)
    with Image.open(Path(file)) as shown:
        assert np.abs(np.int16(shown.convert("RGB")) - np.int16(expected)).max() <= 1
    with pytest.raises(Exception, match="'x' is no seed; write whole numbers and ranges"):
        client.predict("x", "", "", 0.5, 3.0, api_name="/draw")


@pytest.mark.needs("browser")
def test_the_page_shows_names_as_text_and_asks_nobody_else(page):
    url, _ = page
    with browser() as chromium:
        shown = chromium.open(url)
        shown.wait("document.querySelector('img[src*=\"/file=\"]')")
        assert TITLE in shown.js("document.querySelector('h1').textContent")
        shown.js("document.querySelector('input[aria-label=Class]').focus()")
        shown.wait("document.querySelectorAll('[role=option]').length == 4")
        names = shown.js("[...document.querySelectorAll('[role=option]')].map(each => each.innerText)")
        assert HOSTILE[0] in "".join(names)
        assert shown.js("document.querySelectorAll('img[src=x], h1 script').length") == 0
        assert shown.problems == []
        assert shown.foreign == []
