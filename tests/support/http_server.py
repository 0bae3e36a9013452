"""A real HTTP server on loopback that serves a directory, counts the requests, and misbehaves on demand."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path


class BadServer(http.server.ThreadingHTTPServer):
    """`faults[name]` is a list of what to do at the next requests for a file: a key of `FAULTS`, or a status."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root, self.requests, self.headers = root, Counter(), []
        self.faults: dict[str, list[str | int]] = {}
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/data"

    def handle_error(self, request, client_address) -> None:
        """Clients that hang up are expected."""


@contextlib.contextmanager
def serve(root: Path) -> Iterator[BadServer]:
    server = BadServer(root)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: BadServer

    def log_message(self, *_ignored) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.split("?")[0].rsplit("/", 1)[-1]
        with self.server.lock:
            self.server.requests[name] += 1
            self.server.headers.append(dict(self.headers))
            faults = self.server.faults.get(name, [])
            fault = faults.pop(0) if faults else "none"
        path = self.server.root / name
        if isinstance(fault, int):
            return self._answer(fault, b"<html>")
        if not path.is_file():
            return self._answer(404, b"<html>")
        return FAULTS[fault](self, path.read_bytes())

    def _answer(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _stall(self, body: bytes) -> None:
        self._answer(200, body[: len(body) // 2], len(body))
        time.sleep(20)

    def _trickle(self, body: bytes) -> None:
        self._answer(200, b"", len(body))
        for place in range(200):
            self.wfile.write(body[place : place + 1])
            self.wfile.flush()
            time.sleep(0.1)

    def _hang_up(self, _body: bytes) -> None:
        self.close_connection = True

    def _redirect_without_end(self, _body: bytes) -> None:
        self._answer(302, b"", 1 << 40, Location=f"{self.path}?again")
        with contextlib.suppress(OSError):
            for _ in range(1000):
                self.wfile.write(bytes(1 << 20))

    def _redirect(self, where: str) -> None:
        self._answer(302, b"", Location=where)


FAULTS = {
    "none": lambda handler, body: handler._answer(200, body),
    "stall": _Handler._stall,
    "trickle": _Handler._trickle,
    "hang up": _Handler._hang_up,
    "truncated": lambda handler, body: handler._answer(200, body[: len(body) // 2], len(body)),
    "short": lambda handler, body: handler._answer(200, body[: len(body) // 2]),
    "endless": lambda handler, body: handler._answer(200, body + bytes(1 << 20)),
    "wrong": lambda handler, body: handler._answer(200, body[:700] + bytes([body[700] ^ 1]) + body[701:]),
    "to file": lambda handler, body: handler._redirect("file:///etc/hostname"),
    "to ftp": lambda handler, body: handler._redirect("ftp://127.0.0.1/secret?token=hunter2"),
    "to signed": lambda handler, body: handler._redirect(handler.path + "?X-Signature=hunter2"),
    "redirect without end": _Handler._redirect_without_end,
    "to no host": lambda handler, body: handler._redirect(f"http://{'a' * 70}.invalid/x"),
    "round": lambda handler, body: (
        (handler.server.faults.update({handler.path.rsplit("/", 1)[-1]: ["round"]})) or handler._redirect(handler.path)
    ),
}
