"""The explorer in a real browser, served and as one file: its images are those of `distgan sample`."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shlex
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from distgan.cli import explore
from distgan.cli.main import main
from distgan.inference.explorer.server import Explorer, serve
from distgan.inference.film import walk
from distgan.inference.generator import load_generator
from tests.support import processes
from tests.support.browser import Browser, Page, browser
from tests.support.image_files import noise, put
from tests.unit.inference.test_sampling import export

pytestmark = [pytest.mark.slow, pytest.mark.needs("browser")]
EVIL = "<img src=x onerror=window.hacked=1>\u202e'\"</script><script>window.hacked=1</script>"
NAMES = ("frog", "cat, black", EVIL)
READY = "document.querySelector('#grid').getAttribute('aria-busy') === 'false'"
PIXELS = """
[...document.querySelectorAll("SELECTOR")].map((canvas) => {
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  return Array.from(copy.getImageData(0, 0, canvas.width, canvas.height).data);
})"""
CATCH = """
window.downloads = [];
URL.createObjectURL = (blob) => { window.caught = blob; return "data:,"; };
HTMLAnchorElement.prototype.click = async function () {
  const bytes = new Uint8Array(await window.caught.arrayBuffer());
  window.downloads.push([this.download, Array.from(bytes)]);
}; true"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("explorer")


@pytest.fixture(scope="module")
def files(place) -> dict[str, Path]:
    return {
        "classes": export(place / "classes.safetensors", conditional=True, names=NAMES),
        "gray": export(place / "gray.safetensors", channels=1),
    }


@pytest.fixture(scope="module")
def urls(place, files) -> Iterator[dict[tuple[str, str], str]]:
    """Where the page of each generator is, in both forms."""
    for number in range(50):
        put(place / "frogs" / "frog" / f"{number}.png", noise(8, 8, 3, seed=number))
    assert main(["prepare", "folder", str(place / "frogs"), "--out", str(place / "reals"), "--size", "8"]) == 0
    args = argparse.Namespace(data=str(place / "reals"), source=files["classes"])
    nearest = {"classes": explore.find_nearest(args, load_generator(files["classes"])), "gray": None}
    found = {}
    with contextlib.ExitStack() as servers:
        for name, file in files.items():
            explorer = Explorer(load_generator(file), name, f"distgan sample {file.name}", nearest[name])
            server = servers.enter_context(serve(explorer, 0))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            servers.callback(server.shutdown)
            found[name, "served"] = server.url
            assert main(["explore", str(file), "--html", str(place / f"{name}.html")]) == 0
            found[name, "file"] = (place / f"{name}.html").as_uri()
        yield found


@pytest.fixture(params=["served", "file"])
def form(request) -> str:
    return request.param


def opened(chromium: Browser, url: str, **window: int) -> Page:
    page = chromium.open(url, **window)
    page.wait(READY)
    return page


def assert_shows(page: Page, wanted: torch.Tensor, selector: str = "#grid canvas") -> None:
    """Its canvases are these images, uint8 [N, C, H, W], within one grey level."""
    found = np.array(page.js(PIXELS.replace("SELECTOR", selector))).reshape(-1, wanted.shape[2], wanted.shape[3], 4)
    assert (found[..., 3] == 255).all()
    colors = wanted.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy().astype(int)
    assert found.shape[0] == len(colors)
    assert np.abs(found[..., :3] - colors).max() <= 1


def assert_unharmed(page: Page) -> None:
    assert page.problems == []
    assert page.foreign == []
    assert page.js("window.hacked") is None


def test_seeds_show_the_images_that_sample_makes_and_nothing_is_fetched_from_elsewhere(chromium, urls, files, form):
    for name, count in (("classes", 9), ("gray", 24)):
        page = opened(chromium, urls[name, form])
        generator = load_generator(files[name])
        assert_shows(page, generator.sample(range(count)))
        assert_shows(page, generator.sample([0]), "#large")
        page.set("#seeds", "5, 990-999, 5", "change")
        page.wait(READY)
        assert_shows(page, generator.sample([5, *range(990, 1000), 5]))
        assert_unharmed(page)


def test_classes_mixtures_truncation_and_directions_are_those_of_the_printed_command(
    chromium, urls, files, form, tmp_path, monkeypatch
):
    page = opened(chromium, urls["classes", form])
    generator = load_generator(files["classes"])
    page.set("#first", 1, "change")
    page.wait(READY)
    assert_shows(page, generator.sample(range(9), "cat, black"))
    page.set("#second", 2, "change")
    page.set("#share", 0.3)
    page.set("#truncation", 0.55)
    page.set("#step1", 2.5)
    page.set("#step3", -1)
    page.wait(READY)
    mixture = {"cat, black": 0.7, EVIL: 0.3}
    wanted = generator.sample(range(9), mixture, 0.55, move={1: 2.5, 3: -1})
    assert not torch.equal(wanted, generator.sample(range(9), "cat, black"))
    assert_shows(page, wanted)

    monkeypatch.chdir(files["classes"].parent)
    command = shlex.split(page.text("#command"))
    command[command.index("--out") + 1] = str(tmp_path / "images.npz")
    at = command.index("--columns")
    assert main([*command[1:at], *command[at + 2 :]]) == 0
    with np.load(tmp_path / "images.npz") as arrays:
        assert np.abs(arrays["images"].astype(int) - wanted.permute(0, 2, 3, 1).numpy()).max() <= 1
    assert_unharmed(page)


def test_a_link_brings_the_settings_back_and_a_wrong_one_the_usual_ones(chromium, urls, files, form):
    page = opened(chromium, urls["classes", form] + "#seeds=3,4&class=0&mix=1,0.25&truncation=0.5&move=2:1.5")
    generator = load_generator(files["classes"])
    wanted = generator.sample([3, 4], {"frog": 0.75, "cat, black": 0.25}, 0.5, move={2: 1.5})
    assert_shows(page, wanted)
    page = opened(chromium, urls["classes", form] + "#class=99&mix=x&truncation=-1&move=99:5,1:NaN")
    assert_shows(page, generator.sample(range(9)))
    assert_unharmed(page)


def test_a_walk_plays_pauses_and_shows_the_frames_of_the_film_that_sample_makes(chromium, urls, files, form):
    page = opened(chromium, urls["classes", form])
    for seed in (0, 7, 3):
        page.click(f"#grid button:nth-child({seed + 1})")
        page.click("#add")
    frames = list(walk(load_generator(files["classes"]), [0, 7, 3], 12))
    for number in (0, 5, 11):
        page.set("#position", number / 12)
        page.js("new Promise(resolve => setTimeout(resolve, 300))")
        frame = frames[number].resize((8, 8), Image.Resampling.NEAREST)
        assert_shows(page, torch.from_numpy(np.array(frame)).permute(2, 0, 1)[None], "#walk-image")
    page.click("#play")
    assert page.text("#play") == "Pause"
    page.wait("Number(document.querySelector('#position').value) !== 11 / 12")
    page.click("#play")
    page.js("new Promise(resolve => setTimeout(resolve, 100))")
    stopped = page.js("document.querySelector('#position').value")
    page.js("new Promise(resolve => setTimeout(resolve, 200))")
    assert page.js("document.querySelector('#position').value") == stopped
    assert "--walk 0,7,3 --frames 144" in page.text("#walk-command")
    page.click("#stops button")
    assert "--walk 7,3 --frames 96" in page.text("#walk-command")
    assert_unharmed(page)


def test_a_grid_and_a_film_are_downloaded(chromium, urls, files, form):
    page = opened(chromium, urls["classes", form])
    page.js(CATCH)
    page.click("#save-grid")
    page.wait("downloads.length === 1")
    [[name, data]] = page.js("downloads")
    with Image.open(io.BytesIO(bytes(data))) as saved:
        wanted = load_generator(files["classes"]).grid(range(9), columns=3)
        assert (name, saved.size) == ("grid.png", wanted.size)
        assert np.abs(np.asarray(saved.convert("RGB")).astype(int) - np.asarray(wanted)).max() <= 1
    page.click("#add")
    page.click("#grid button:nth-child(2)")
    page.click("#add")
    page.click("#film")
    page.wait("downloads.length === 2", 120)
    name, data = page.js("downloads[1]")
    assert re.fullmatch(r"walk\.(webm|mp4)", name)
    content = bytes(data)
    assert len(content) > 1000
    assert content[:4] == b"\x1aE\xdf\xa3" or content[4:8] == b"ftyp"
    assert_unharmed(page)


def test_favourites_keep_their_settings_and_outlive_the_page(chromium, urls, files):
    page = opened(chromium, urls["classes", "served"])
    page.set("#truncation", 0.5)
    page.click("#grid button:nth-child(5)")
    page.wait(READY)
    page.click("#keep")
    page.set("#truncation", 2)
    page.js("location.hash = ''; true")
    page.reload()
    page.wait("document.querySelector('#kept canvas')")
    page.wait(READY)
    page.js("new Promise(resolve => setTimeout(resolve, 300))")
    wanted = load_generator(files["classes"]).sample([4], truncation=0.5)
    assert_shows(page, wanted, "#kept canvas")
    page.click("#kept button")
    page.wait("document.querySelector('#seeds').value === '4'")
    page.wait(READY)
    assert_shows(page, wanted)
    page.click("#kept .remove")
    page.wait("document.querySelector('#favourites').hidden")


def test_the_nearest_real_images_are_shown_where_the_data_set_is_at_hand(chromium, urls):
    page = opened(chromium, urls["classes", "served"])
    page.click("#nearest")
    page.wait("document.querySelectorAll('#near canvas').length === 5")
    assert "of 50 of 50" in page.text("#near")
    assert opened(chromium, urls["gray", "served"]).js("document.querySelector('#nearest').hidden")
    assert opened(chromium, urls["classes", "file"]).js("document.querySelector('#nearest').hidden")


def test_it_is_worked_by_keyboard_on_a_phone_in_the_dark_and_for_screen_readers(chromium, urls, form):
    page = opened(chromium, urls["classes", form])
    page.js("document.querySelector('#grid button').focus(); true")
    page.press("Tab")
    page.press("Enter")
    page.wait("document.querySelector('#detail-title').innerText === 'Seed 1'")
    assert page.js("document.activeElement.getAttribute('aria-label')") == "seed 1, cat, black"
    page.js("document.querySelector('#truncation').focus(); true")
    page.press("ArrowLeft")
    page.wait("document.querySelector('#truncation-value').innerText === 'at 3'")
    for scheme in ("light", "dark"):
        page.prefer(scheme)
        assert page.violations() == []
    page.resize(390, 844)
    assert page.js("document.documentElement.scrollWidth") <= 390
    assert page.violations() == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x", '"x" is no seed and no range such as 0-29'),
        ("9-3", '"9-3" runs backwards: use 3-9'),
        ("0-100", "at most 100 seeds at a time"),
    ],
)
def test_wrong_seeds_are_a_sentence_and_the_next_right_ones_go_on(chromium, urls, form, text, said):
    page = opened(chromium, urls["gray", form])
    page.set("#seeds", text, "change")
    page.wait("!document.querySelector('#problem').hidden")
    assert page.text("#problem") == said
    page.click("#grid button")
    assert "--seeds 0-23 " in page.text("#command"), "of the images that are shown"
    page.set("#seeds", "1", "change")
    page.wait("document.querySelector('#problem').hidden && document.querySelectorAll('#grid canvas').length === 1")
    assert_unharmed(page)


def test_a_file_says_which_seeds_it_carries(chromium, urls):
    page = opened(chromium, urls["gray", "file"])
    page.set("#seeds", "1000", "change")
    page.wait("!document.querySelector('#problem').hidden")
    assert page.text("#problem") == "seed 1000 is above 999, the last one here"


def test_a_server_that_has_ended_is_a_sentence(chromium, files, place):
    log = place / "ended.log"
    process = processes.start([sys.executable, "-m", "distgan", "explore", str(files["gray"]), "--port", "0"], log)
    processes.wait_for(lambda: "http://" in log.read_text(), process)
    page = opened(chromium, re.findall(r"http://\S+", log.read_text())[-1])
    processes.kill_all(process)
    page.set("#truncation", 1)
    page.wait("!document.querySelector('#problem').hidden")
    assert page.text("#problem") == "The server does not answer any more: start `distgan explore` again."
