"""A small web server for a browser on this machine: the live page, the explorer.

It listens on 127.0.0.1 only, and answers only a browser that asks for this machine by name, so that no other web page
can read it by a name of its own. What it answers is a function of the question.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import unquote

from distgan.utils.background import short
from distgan.utils.errors import LaunchError
from distgan.utils.log import log

PORT = 8642  # the first that is tried where none is given
TRIED = 20  # ports after it
HOSTS = ("127.0.0.1", "localhost")
IDLE_SECONDS = 60.0  # after which a connection without a question is closed
GZIP_BYTES = 1000  # from which on text is compressed
MAX_BODY = 1 << 24  # bytes of a question
BYTES = "application/octet-stream"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


class Question(NamedTuple):
    """What a browser asks."""

    path: str
    """Decoded, without the query."""
    query: str
    body: bytes | None
    """Of a POST; None: a GET."""


class Answer(NamedTuple):
    """What a browser gets."""

    status: HTTPStatus
    kind: str
    """Its media type."""
    body: bytes
    etag: str = ""
    keep: bool = False
    """Whether the browser may show it again without asking."""


class LocalServer(ThreadingHTTPServer):
    """Answers on 127.0.0.1. `serve_forever` ends with `shutdown`, or with Ctrl-C."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, answer: Callable[[Question], Answer], port: int | None) -> None:
        """answer: called by several threads. port: None takes PORT, or the next one that is free; 0 any.

        Raises LaunchError if it is taken.
        """
        self.answer = answer
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
            log.warning("the page's server failed to answer: %s", repr(error))


def text(content: str, kind: str = "text/plain", status: HTTPStatus = HTTPStatus.OK) -> Answer:
    """An answer of text in UTF-8."""
    return Answer(status, f"{kind}; charset=utf-8", content.encode())


def sentence(status: HTTPStatus, content: str) -> Answer:
    """Why there is no answer."""
    return text(f"{content}\n", status=status)


def etag_of(body: bytes) -> str:
    """A mark of a body, by which a browser asks for it only once."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


class _Handler(BaseHTTPRequestHandler):
    server: LocalServer
    protocol_version = "HTTP/1.1"
    error_content_type = "text/plain; charset=utf-8"
    error_message_format = "%(code)d %(message)s\n"
    timeout = IDLE_SECONDS

    def do_GET(self) -> None:
        self._send(self._answer(None))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY:
            self.close_connection = True  # what it sends is not read
            self._send(sentence(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"At most {MAX_BODY:,} bytes."))
        else:
            self._send(self._answer(self.rfile.read(int(length))))

    def log_message(self, *_: Any) -> None:
        """Says nothing: the terminal belongs to the user."""

    def version_string(self) -> str:
        return "distgan"

    def _answer(self, body: bytes | None) -> Answer:
        if not _is_this_machine(self.headers.get("Host", "")):
            return sentence(HTTPStatus.FORBIDDEN, "This page is for a browser on this machine: open it as 127.0.0.1.")
        if body is not None and self.headers.get("Content-Type") != BYTES:  # which a foreign page may not send
            return sentence(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"A question with a body is {BYTES}.")
        path, _, query = self.path.partition("?")
        try:
            return self.server.answer(Question(unquote(path), query, body))
        except Exception as error:  # a bug, or no memory: the page says so, and the server goes on
            log.warning("the page's server failed to answer: %s", repr(error))
            return sentence(HTTPStatus.INTERNAL_SERVER_ERROR, f"This failed on the server: {short(error)}.")

    def _send(self, answer: Answer) -> None:
        known = bool(answer.etag) and self.headers.get("If-None-Match") == answer.etag
        body = b"" if known else answer.body
        is_text = answer.kind.startswith("text/") or answer.kind == "application/json"
        packed = len(body) > GZIP_BYTES and is_text and "gzip" in self.headers.get("Accept-Encoding", "")
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
