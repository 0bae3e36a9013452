"""tests/support/browser.py: what other tests do to the machine does not reach a page."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time

import pytest

from tests.support import hosts
from tests.support.browser import browser

pytestmark = [pytest.mark.slow, pytest.mark.needs("browser", "hosts")]
SCRIPTS = 24  # far more than the six connections that a browser opens to a server: the others wait for one
PAGE = "".join(f"<script src={number}.js></script>" for number in range(SCRIPTS))


class Slow(http.server.BaseHTTPRequestHandler):
    """A page of many scripts, each of which takes its time."""

    def do_GET(self):
        page = self.path == "/"
        body = PAGE if page else "window.ran ??= 0; ran++"
        time.sleep(0.1)
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if page else "text/javascript")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def background(work):
    """Calls it again and again beside the test, to the end."""
    over = threading.Event()

    def repeat():
        while not over.is_set():
            work()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_page_loads_while_addresses_of_the_machine_come_and_go(tmp_path):
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server,
        browser() as chromium,
        hosts.two_hosts(tmp_path) as two,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = two.outside.removesuffix("254") + "250"

        def change():
            for what in ("add", "delete"):
                hosts.ip(f"address {what} {address}/24 dev {two.bridge}")
                time.sleep(0.1)

        with background(change):
            page = chromium.open(f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()
        assert page.js("window.ran") == SCRIPTS, page.problems
