"""The pictures of pages in docs/; needs Chromium.

python -m tests.support.screenshots live RUN docs       # docs/live_{wide,phone}_{light,dark}.png, of a run that trains
python -m tests.support.screenshots explore RUN docs    # docs/explore_{served,file}_...png, of a run's generator
python -m tests.support.screenshots site SITE docs      # docs/site_{wide_light,phone_dark}.png, of a built site
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from distgan.cli import main as cli
from distgan.training.report.live import serve
from tests.support import processes
from tests.support.browser import Browser, Page, browser
from tests.support.site import files_at

SIZES = {"wide": (1280, 1240), "phone": (390, 1000)}
MAX_BYTES = 150_000
READY = "document.querySelector('#grid').getAttribute('aria-busy') === 'false'"
COLOURS = (256, 128, 64, 32)  # tried until the file is small enough


def shoot(page: Page, path: Path, scheme: str) -> None:
    """What a window shows, as a small PNG."""
    page.prefer(scheme)
    page.js("new Promise(resolve => setTimeout(resolve, 500))")
    page.screenshot(path)
    image = Image.open(path).convert("RGB")
    for colours in COLOURS:
        image.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size < MAX_BYTES:
            return
    raise SystemExit(f"{path} has {path.stat().st_size:,} bytes")


def shoot_all(chromium: Browser, url: str, name: str, folder: Path, prepare: Callable[[Page], None]) -> None:
    """Wide and on a phone, light and dark."""
    for kind, size in SIZES.items():
        page = chromium.open(url, *size)
        prepare(page)
        for scheme in ("light", "dark"):
            shoot(page, folder / f"{name}_{kind}_{scheme}.png", scheme)


def wait_for_images(page: Page) -> None:
    page.wait("[...document.querySelectorAll('.frames figure:not([hidden]) img')].every(image => image.naturalWidth)")


def look_around(page: Page) -> None:
    """A mixture of two classes, moved along a direction; a walk, a favourite, the nearest real images."""
    page.wait(READY)
    for seed in (3, 12, 8):
        page.click(f"#grid button:nth-child({seed + 1})")
        page.click("#add")
    page.set("#position", 0.12)
    page.wait(READY)
    page.click("#keep")
    if not page.js("document.querySelector('#nearest').hidden"):
        page.click("#nearest")
        page.wait("document.querySelectorAll('#near canvas').length === 5")
    page.js("scrollTo(0, 0)")


def live(run: Path, folder: Path) -> None:
    with serve([run], 0) as server, browser() as chromium:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        shoot_all(chromium, server.url, "live", folder, wait_for_images)


def explored(run: Path, folder: Path) -> None:
    with TemporaryDirectory() as directory, browser() as chromium:
        html = Path(directory, f"{run.name}.html")
        assert cli.main(["explore", str(run), "--html", str(html)]) == 0
        shoot_all(chromium, html.as_uri(), "explore_file", folder, look_around)
        log = html.with_suffix(".log")
        command = ["env", "-C", str(Path.cwd()), sys.executable, "-m", "distgan", "explore", str(run), "--port", "0"]
        served = processes.start(command, log)
        processes.wait_for(lambda: "http://" in log.read_text(), served)
        url = re.findall(r"http://\S+", log.read_text())[-1]
        shoot_all(chromium, url, "explore_served", folder, look_around)
        processes.kill_all(served)


def site(built: Path, folder: Path) -> None:
    """As a first visitor sees it, whose system prefers these colours."""
    with files_at(built) as url, browser() as chromium:
        for kind, size, scheme in (("wide", (1280, 800), "light"), ("phone", (390, 844), "dark")):
            page = chromium.open(f"{url}404.html", *size)
            page.prefer(scheme)
            page.go(f"{url}reference/configuration/" if kind == "phone" else url)
            shoot(page, folder / f"site_{kind}_{scheme}.png", scheme)


def main(page: str, run: str, folder: str) -> None:
    {"live": live, "explore": explored, "site": site}[page](Path(run), Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
