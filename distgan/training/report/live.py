"""The live page: a small web server on this machine that shows a run, or several, while they train.

It reads nothing but the runs' own files, and changes nothing. Who may ask: utils/local_server.py.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from distgan.training.report.compare import NamedRun, comparison_parts, names_of
from distgan.training.report.contents import Facts, Grid, Missing
from distgan.training.report.grids import caption_of, open_grid, read_grid, spread
from distgan.training.report.history import History
from distgan.training.report.parts import Frame, Frames, FramesOf, run_parts
from distgan.training.report.run_reader import RunReader
from distgan.training.report.templates import Part, asset, fill_page
from distgan.utils.local_server import Answer, LocalServer, Question, etag_of, sentence, text

MAX_FRAMES = 200  # grids of a kind behind the slider
MIN_SECONDS = 1.0  # between two looks at a run, however many pages ask
ASSETS = {
    "/style.css": "text/css",
    "/player.js": "text/javascript",
    "/live.js": "text/javascript",
}


class LivePage:
    """The page of some runs as it is now; asked by several threads."""

    def __init__(
        self, names: Sequence[str], readers: Sequence[RunReader], parts_of: Callable[[list[Facts]], list[Part]]
    ) -> None:
        self.title = ", ".join(names)
        self._readers, self._parts_of = readers, parts_of
        self._lock = threading.Lock()
        self._looked = -MIN_SECONDS
        self._facts: list[Facts] = []
        self._made_of: list[Any] = []
        self._parts: list[Part] = []

    def parts(self) -> list[Part]:
        """The sections. The files are looked at if the last look is MIN_SECONDS old; what is new is drawn."""
        with self._lock:
            if time.monotonic() - self._looked >= MIN_SECONDS:
                self._facts = [reader.read() for reader in self._readers]
                made_of = [_mark(facts) for facts in self._facts]
                if made_of != self._made_of:
                    self._parts, self._made_of = self._parts_of(self._facts), made_of
                self._looked = time.monotonic()
            return self._parts

    def grid(self, run: int, name: str) -> Grid | None:
        """The grid of a run with this file name, of those that its folder had at the last look."""
        self.parts()
        grids = self._facts[run].grids if run < len(self._facts) else Missing("")
        every = [] if isinstance(grids, Missing) else [grid for kind in grids.values() for grid in kind]
        return next((grid for grid in every if grid.path.name == name), None)

    def answer(self, question: Question) -> Answer:
        """What the server answers."""
        path = question.path
        if question.body is not None:
            return sentence(HTTPStatus.METHOD_NOT_ALLOWED, "This page is only read.")
        if path == "/":
            return self._page()
        if path == "/parts.json":
            return self._parts_now()
        if path in ASSETS:
            return text(asset(path[1:]), ASSETS[path])
        if path.startswith("/grids/"):
            return self._grid(*path.removeprefix("/grids/").partition("/")[::2])
        return sentence(HTTPStatus.NOT_FOUND, "There is nothing here but the page at /.")

    def _page(self) -> Answer:
        parts = self.parts()
        page = fill_page(self.title, parts, live=True, etag=etag_of(_json(parts)))
        return text(page, "text/html")

    def _parts_now(self) -> Answer:
        body = _json(self.parts())
        return Answer(HTTPStatus.OK, "application/json", body, etag_of(body))

    def _grid(self, run: str, name: str) -> Answer:
        grid = self.grid(int(run), name) if run.isdecimal() and len(run) < 3 else None
        try:
            if grid is None:
                raise ValueError(f"there is no grid {name}")
            content = read_grid(grid)
            open_grid(content, grid.path.name, decode=False)
        except (OSError, ValueError) as error:
            return sentence(HTTPStatus.NOT_FOUND, f"It cannot be shown: {error}.")
        return Answer(HTTPStatus.OK, "image/png", content, keep=True)


def _mark(facts: Facts) -> tuple[Any, ...]:
    """Equal for facts that give the same page; a history grows in its place."""
    lines = facts.metrics.lines if isinstance(facts.metrics, History) else 0
    return facts, lines


def frames_at(run: int) -> FramesOf:
    """The images of a run's grids on the live page's server."""

    def frames(grids: list[Grid], scored: Mapping[int, str]) -> Frames:
        return [
            Frame(
                f"{grid.path.name}?{grid.changed}", caption_of(grid, scored.get(grid.images, "")), grid_url(run, grid)
            )
            for grid in spread(grids, MAX_FRAMES)
        ]

    return frames


def grid_url(run: int, grid: Grid) -> str:
    """Where the server has a grid; another one as soon as the file has changed."""
    return f"/grids/{run}/{grid.path.name}?{grid.changed}"


def serve(run_dirs: Sequence[Path], port: int | None = None) -> LocalServer:
    """The server of the live page of a run, or of up to 8 side by side; it listens, and answers in `serve_forever`.

    port: None takes PORT or one of the next, 0 any that is free. Raises LaunchError if it is taken.
    """
    names = names_of(run_dirs)

    def several(facts: list[Facts]) -> list[Part]:
        runs = [NamedRun(name, each) for name, each in zip(names, facts, strict=True)]
        return comparison_parts(runs, grid_url, live=True)

    page = LivePage(names, [RunReader(path) for path in run_dirs], one_run if len(run_dirs) == 1 else several)
    return LocalServer(page.answer, port)


def one_run(facts: list[Facts]) -> list[Part]:
    """The sections of the page of a single run."""
    return run_parts(facts[0], frames_at(0), live=True)


def _json(parts: list[Part]) -> bytes:
    return json.dumps({part.id: part.html for part in parts}).encode()
