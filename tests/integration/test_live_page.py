"""The report in a real browser: live beside a real training, by keyboard, on a phone, in the dark, without scripts."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from distgan.training.report.write import write_comparison, write_report
from tests.support import processes
from tests.support.browser import Browser, browser
from tests.support.runs import evaluation, grid, lines, make_run, metrics

pytestmark = [pytest.mark.slow, pytest.mark.needs("browser")]
COMMAND = (sys.executable, "-m", "distgan")
IMAGES_SEEN = "Number(document.querySelector('.tiles dd').innerText.split(' ')[0].replaceAll(',', ''))"
SHOWN_FRAME = "document.querySelector('#fakes [data-frame]:not([hidden])')"
SLIDER = "document.querySelector('#fakes input[type=range]')"
REFRESHED = 30  # seconds; the page asks every 2


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


class Served:
    """`distgan report RUN ... --serve` as a process."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self.log = log
        self.process = processes.start([*COMMAND, "report", *arguments, "--serve"], log)
        processes.wait_for(lambda: "http://" in log.read_text(), self.process)
        self.url = re.findall(r"http://\S+", log.read_text())[-1]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@pytest.fixture
def served(tmp_path) -> Callable[..., Served]:
    def start(*run_dirs: Path) -> Served:
        return Served(tmp_path / "served.log", *map(str, run_dirs), "--port", "0")

    return start


def append(path: Path, row: dict) -> None:
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def test_a_page_that_was_opened_before_the_training_shows_all_of_it_without_being_loaded_again(
    chromium, served, tiny, tmp_path
):
    run = tmp_path / "quickstart"
    server = served(run)
    page = chromium.open(server.url)
    assert f"There is no {run} yet" in page.text("#state")
    page.js("window.marker = 7")
    training = processes.start([*COMMAND, "train", *tiny("train.images=6000")], tmp_path / "training.log")
    page.wait("document.querySelectorAll('#health polyline').length >= 2")
    assert "training" in page.text(".state b")
    assert re.match(r"\d+ % training · quickstart", page.js("document.title"))
    page.wait(f"{SHOWN_FRAME} && {SHOWN_FRAME}.querySelector('img').naturalWidth > 0")
    first, caption = page.js(IMAGES_SEEN), page.text("#fakes [data-frame]:not([hidden]) figcaption")
    page.wait(f"{IMAGES_SEEN} > {first}")
    page.wait(f"{SHOWN_FRAME}.innerText !== {json.dumps(caption)}")  # it follows the newest grid
    page.screenshot(tmp_path / "training.png")
    assert training.wait(240) == 0, (tmp_path / "training.log").read_text()
    page.wait("document.querySelector('.state b').innerText === 'ended'", REFRESHED)
    assert page.js("document.getElementById('word').innerText") == "ended"
    assert page.js(IMAGES_SEEN) == 6000
    assert page.js("window.marker") == 7
    assert page.problems == []
    assert page.foreign == []
    assert server.stop() == 0
    assert "the live page is closed; this ends no training" in server.log.read_text()
    assert "Traceback" not in server.log.read_text()


def test_the_slider_the_play_button_and_every_table_are_reached_by_keyboard(chromium, served, tmp_path):
    run = make_run(tmp_path / "run")
    for images in range(3000, 8000, 1000):
        grid(run, images)
    page = chromium.open(served(run).url)
    page.wait(f"{SHOWN_FRAME}.dataset.frame.startsWith('fakes-000007000')")
    reached = []
    for _ in range(40):
        page.press("Tab")
        reached.append(
            page.js(
                "[document.activeElement.tagName, document.activeElement.ariaLabel || document.activeElement.innerText]"
            )
        )
        assert page.js("getComputedStyle(document.activeElement).outlineStyle !== 'none'"), reached[-1]
        if reached[-1][0] == "INPUT":
            break
    assert reached[-2:] == [["BUTTON", "Play"], ["INPUT", "Samples over time: images seen"]]
    for key, images in (("ArrowLeft", 6000), ("ArrowLeft", 5000), ("Home", 1000), ("ArrowRight", 2000), ("End", 7000)):
        page.press(key)
        page.wait(f"{SHOWN_FRAME}.dataset.frame.startsWith('fakes-{images:09d}')")
        assert page.js(f"{SLIDER}.getAttribute('aria-valuetext')").startswith(f"after {images:,} images")
    page.js("document.querySelector('#fakes button').focus()")
    page.press("Space")
    assert page.text("#fakes button") == "Pause"
    page.wait(f"{SHOWN_FRAME}.dataset.frame.startsWith('fakes-000001000')")
    page.wait(f"{SHOWN_FRAME}.dataset.frame.startsWith('fakes-000007000')")
    page.wait("document.querySelector('#fakes button').innerText === 'Play'")  # it stops at the newest
    assert page.problems == []


def test_what_a_reader_has_chosen_stays_when_new_lines_and_grids_come(chromium, served, tmp_path):
    run = make_run(tmp_path / "run")
    grid(run, 3000)
    page = chromium.open(served(run).url, 390, 844)
    page.js(f"{SLIDER}.focus()")
    page.press("ArrowLeft")
    page.wait(f"{SHOWN_FRAME}.dataset.frame.startsWith('fakes-000002000')")
    page.js("document.querySelector('#quality details').open = true")
    page.js("document.querySelector('#quality .wide').focus()")
    page.js("window.image = document.querySelector('#fakes img'); scrollTo(0, 700)")
    append(run / "metrics.jsonl", metrics(9000))
    for images in (2000, 9000):
        append(run / "scores.jsonl", evaluation(images, 20.0))
    grid(run, 9000)
    page.wait(f"{IMAGES_SEEN} === 9000", REFRESHED)
    assert page.js(f"{SLIDER}.max") == "3"
    assert page.js(f"{SHOWN_FRAME}.dataset.frame").startswith("fakes-000002000")
    assert page.js("document.querySelector('#quality details').open") is True
    assert page.js("document.activeElement.ariaLabel") == "Table: scores of the evaluations"
    assert page.js("scrollY") == 700
    assert page.text("#fakes [data-frame]:not([hidden])").startswith("after 2,000 images, fid 20: real left")
    assert page.js("window.image.isConnected"), "an image that is there is not loaded again"
    loaded = [url for url in page.requests if "fakes-" in url]
    assert len(loaded) == len(set(loaded))
    assert "20" in page.text("#quality table")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_its_window_and_is_accessible_in_the_light_and_in_the_dark(
    chromium, served, tmp_path, width, scheme
):
    run = make_run(tmp_path / "run")
    grid(run, 2000, "interpolation")
    lines(run / "events.jsonl", [{"images": 1, "time": "now", "event": "collapse", "text": "long " * 60 + "x" * 400}])
    page = chromium.open(served(run).url, width, 844)
    page.prefer(scheme)
    page.wait("document.querySelector('.player')")
    page.js("document.querySelector('#quality details').open = true")
    page.screenshot(tmp_path / f"{width}-{scheme}.png", whole=True)
    assert page.js("document.documentElement.scrollWidth") == width
    assert page.js("getComputedStyle(document.documentElement).colorScheme") == "light dark"
    dark = page.js("getComputedStyle(document.querySelector('.s0')).stroke")
    assert (dark == "rgb(96, 165, 250)") is (scheme == "dark")
    assert page.violations() == []
    assert page.problems == []
    assert page.foreign == []


def test_several_runs_are_compared_live(chromium, served, tmp_path):
    runs = [make_run(tmp_path / "one"), make_run(tmp_path / "two", "train.batch_size=32", fid=70.0)]
    page = chromium.open(served(*runs).url, 390, 844)
    assert page.js("document.querySelectorAll('#samples img').length") == 2
    assert "train.batch_size" in page.text("#settings")
    append(runs[1] / "metrics.jsonl", metrics(7700))
    page.wait("document.querySelector('#runs').innerText.includes('7,700')", REFRESHED)
    page.wait("[...document.querySelectorAll('#samples img')].every(image => image.naturalWidth > 0)")
    page.screenshot(tmp_path / "compared.png", whole=True)
    assert page.js("document.documentElement.scrollWidth") == 390
    assert page.violations() == []
    assert page.problems == []
    assert page.foreign == []


def test_a_server_that_has_gone_is_told_and_one_that_comes_back_is_followed(chromium, served, tmp_path):
    run = make_run(tmp_path / "run")
    server = served(run)
    page = chromium.open(server.url)
    port = server.url.rstrip("/").rpartition(":")[2]
    assert server.stop() == 0
    page.wait("!document.getElementById('lost').hidden", REFRESHED)
    assert page.text("#lost").startswith("The server does not answer any more")
    append(run / "metrics.jsonl", metrics(9000))
    again = Served(tmp_path / "again.log", str(run), "--port", port)
    page.wait(f"{IMAGES_SEEN} === 9000", 60)
    assert page.js("document.getElementById('lost').hidden")
    assert again.stop() == 0


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_nothing_moves_for_a_reader_who_does_not_want_it(chromium, served, tmp_path, motion):
    run = make_run(tmp_path / "run")
    (run / ".lock").write_text("process 7 on another-machine")
    page = chromium.open(served(run).url)
    page.prefer(motion=motion)
    assert page.text(".state b") == "training"
    moving = page.js("document.getAnimations().length")
    assert (moving == 0) is (motion == "reduce")


def test_the_written_page_has_a_slider_and_without_scripts_all_its_grids(chromium, tmp_path):
    path = write_report(make_run(tmp_path / "run"))
    page = chromium.open(path.as_uri(), 390, 844)
    page.wait(f"{SHOWN_FRAME}.innerText.startsWith('after 2,000')")
    page.js(f"{SLIDER}.focus()")
    page.press("ArrowLeft")
    page.wait(f"{SHOWN_FRAME}.innerText.startsWith('after 1,000')")
    assert page.js("document.documentElement.scrollWidth") == 390
    assert page.violations() == []
    assert page.problems == []
    assert page.foreign == []
    page.scripts(False)
    page.call("Page.reload")
    time.sleep(0.5)
    page.scripts(True)
    assert page.js("[...document.querySelectorAll('#fakes figure')].filter(figure => figure.offsetHeight).length") == 2
    assert page.js("document.querySelector('.player')") is None


def test_the_written_comparison_needs_no_network(chromium, tmp_path):
    runs = [make_run(tmp_path / name) for name in ("one", "two", "three")]
    page = chromium.open(write_comparison(runs, tmp_path / "all.html").as_uri(), 390, 844)
    assert page.js("document.documentElement.scrollWidth") == 390
    assert page.js("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert page.violations() == []
    assert page.problems == []
    assert page.foreign == []
