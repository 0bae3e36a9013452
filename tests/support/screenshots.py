"""The pictures of the live page in docs/, of a run that is training now or was.

python -m tests.support.screenshots RUN docs     # writes docs/live_{wide,phone}_{light,dark}.png; needs Chromium
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from PIL import Image

from distgan.training.report.live import serve
from tests.support.browser import Browser, browser

SIZES = {"wide": (1280, 1240), "phone": (390, 1000)}
MAX_BYTES = 150_000
COLOURS = (256, 128, 64, 32)  # tried until the file is small enough


def shoot(chromium: Browser, url: str, path: Path, size: tuple[int, int], scheme: str) -> None:
    """What a window of this size shows, as a small PNG."""
    page = chromium.open(url, *size)
    page.prefer(scheme)
    page.wait("[...document.querySelectorAll('.frames figure:not([hidden]) img')].every(image => image.naturalWidth)")
    page.screenshot(path)
    image = Image.open(path).convert("RGB")
    for colours in COLOURS:
        image.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size < MAX_BYTES:
            return
    raise SystemExit(f"{path} has {path.stat().st_size:,} bytes")


def main(run: str, folder: str) -> None:
    with serve([Path(run)], 0) as server, browser() as chromium:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name, size in SIZES.items():
            for scheme in ("light", "dark"):
                shoot(chromium, server.url, Path(folder, f"live_{name}_{scheme}.png"), size, scheme)


if __name__ == "__main__":
    main(*sys.argv[1:])
