"""The live page: a small web server on this machine that shows a run, or several, while they train.

It listens on 127.0.0.1 only, answers only a browser that asks for this machine by name (so that no other web page can
read it by a name of its own), reads nothing but the runs' own files, and changes nothing.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from distgan.training.report.compare import NamedRun, comparison_parts, names_of
from distgan.training.report.contents import Facts, Grid, Missing
from distgan.training.report.grids import caption_of, open_grid, read_grid, spread
from distgan.training.report.history import History
from distgan.training.report.parts import Frame, Frames, FramesOf, run_parts
from distgan.training.report.run_reader import RunReader
from distgan.training.report.templates import Part, asset, fill_page
from distgan.utils.errors import LaunchError
from distgan.utils.log import log

PORT = 8642  # the first that is tried where none is given
TRIED = 20  # ports after it
HOSTS = ("127.0.0.1", "localhost")
MAX_FRAMES = 200  # grids of a kind behind the slider
MIN_SECONDS = 1.0  # between two looks at a run, however many pages ask
IDLE_SECONDS = 60.0  # after which a connection without a question is closed
GZIP_BYTES = 1000  # from which on an answer is compressed
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
ASSETS = {
    "/style.css": "text/css; charset=utf-8",
    "/player.js": "text/javascript; charset=utf-8",
    "/live.js": "text/javascript; charset=utf-8",
}


class Answer(NamedTuple):
    """What a browser gets."""

    status: HTTPStatus
    kind: str
    """Its media type."""
    body: bytes
    etag: str = ""
    keep: bool = False
    """Whether the browser may show it again without asking."""


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


def serve(run_dirs: Sequence[Path], port: int | None = None) -> Server:
    """The server of the live page of a run, or of up to 8 side by side; it listens, and answers in `serve_forever`.

    port: None takes PORT or one of the next, 0 any that is free. Raises LaunchError if it is taken.
    """
    names = names_of(run_dirs)

    def several(facts: list[Facts]) -> list[Part]:
        runs = [NamedRun(name, each) for name, each in zip(names, facts, strict=True)]
        return comparison_parts(runs, grid_url, live=True)

    page = LivePage(names, [RunReader(path) for path in run_dirs], one_run if len(run_dirs) == 1 else several)
    return Server(page, port)


def one_run(facts: list[Facts]) -> list[Part]:
    """The sections of the page of a single run."""
    return run_parts(facts[0], frames_at(0), live=True)


class Server(ThreadingHTTPServer):
    """Serves the page on 127.0.0.1. `serve_forever` ends with `shutdown`, or with Ctrl-C."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, page: LivePage, port: int | None = None) -> None:
        """port: None takes PORT, or the next one that is free. Raises LaunchError if it is taken."""
        self.page = page
        super().__init__((HOSTS[0], 0), _Handler, bind_and_activate=False)
        if port is None:
            self._bind(range(PORT, PORT + TRIED), f"no port from {PORT} to {PORT + TRIED - 1} is free")
        else:
            self._bind([port], f"--port {port} cannot be had")

    def _bind(self, ports: Sequence[int], what: str) -> None:
        for port in ports:
            self.server_address = (HOSTS[0], port)
            try:
                self.server_bind()
                self.server_activate()
                return
            except OSError as error:
                self.socket.close()
                self.socket = type(self.socket)(self.address_family, self.socket_type)
                reason = error.strerror or str(error)
        self.server_close()
        raise LaunchError(f"{what}: {reason}; give another with --port, or 0 for any that is free")

    @property
    def url(self) -> str:
        return f"http://{HOSTS[0]}:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that hangs up is no error; anything else is a bug, and the page goes on."""
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError)):
            log.warning("the live page failed to answer: %s", repr(error))


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    error_content_type = "text/plain; charset=utf-8"
    error_message_format = "%(code)d %(message)s\n"
    timeout = IDLE_SECONDS

    def do_GET(self) -> None:
        self._send(self._answer())

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        """Says nothing: the terminal belongs to the user."""

    def version_string(self) -> str:
        return "distgan"

    def _answer(self) -> Answer:
        if not _is_this_machine(self.headers.get("Host", "")):
            return _sentence(HTTPStatus.FORBIDDEN, "This page is for a browser on this machine: open it as 127.0.0.1.")
        path = unquote(self.path.partition("?")[0])
        if path == "/":
            return self._page()
        if path == "/parts.json":
            return self._parts()
        if path in ASSETS:
            return Answer(HTTPStatus.OK, ASSETS[path], asset(path[1:]).encode())
        if path.startswith("/grids/"):
            return self._grid(*path.removeprefix("/grids/").partition("/")[::2])
        return _sentence(HTTPStatus.NOT_FOUND, "There is nothing here but the page at /.")

    def _page(self) -> Answer:
        parts = self.server.page.parts()
        text = fill_page(self.server.page.title, parts, live=True, etag=_etag(_json(parts)))
        return Answer(HTTPStatus.OK, "text/html; charset=utf-8", text.encode())

    def _parts(self) -> Answer:
        body = _json(self.server.page.parts())
        return Answer(HTTPStatus.OK, "application/json", body, _etag(body))

    def _grid(self, run: str, name: str) -> Answer:
        grid = self.server.page.grid(int(run), name) if run.isdecimal() and len(run) < 3 else None
        try:
            if grid is None:
                raise ValueError(f"there is no grid {name}")
            content = read_grid(grid)
            open_grid(content, grid.path.name, decode=False)
        except (OSError, ValueError) as error:
            return _sentence(HTTPStatus.NOT_FOUND, f"It cannot be shown: {error}.")
        return Answer(HTTPStatus.OK, "image/png", content, keep=True)

    def _send(self, answer: Answer) -> None:
        known = bool(answer.etag) and self.headers.get("If-None-Match") == answer.etag
        body = b"" if known else answer.body
        packed = (
            len(body) > GZIP_BYTES and answer.kind != "image/png" and "gzip" in self.headers.get("Accept-Encoding", "")
        )
        body = gzip.compress(body, 1) if packed else body
        self.send_response(HTTPStatus.NOT_MODIFIED if known else answer.status)
        for name, value in {**HEADERS, "Content-Type": answer.kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "private, max-age=86400" if answer.keep else "no-store")
        if answer.etag:
            self.send_header("ETag", answer.etag)
        if packed:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _is_this_machine(host: str) -> bool:
    """Whether a Host header names this machine, with any port: a tunnel may have another one."""
    name, _, port = host.partition(":")
    return name.lower() in HOSTS and (port.isdecimal() or not port)


def _sentence(status: HTTPStatus, text: str) -> Answer:
    return Answer(status, "text/plain; charset=utf-8", f"{text}\n".encode())


def _json(parts: list[Part]) -> bytes:
    return json.dumps({part.id: part.html for part in parts}).encode()


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'
