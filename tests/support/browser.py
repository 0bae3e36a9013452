"""A real browser without a window: Debian's Chromium, driven by its own protocol through a pipe; standard library.

    with browser() as chromium:
        page = chromium.open("http://127.0.0.1:8642/")
        page.wait("document.querySelector('svg')")
        assert page.problems == [] and page.foreign == []

Playwright would do the same, but its package is 168 MB (a Node.js inside), and selenium needs a second program.
The protocol: https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import contextlib
import importlib.resources
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support import processes

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    *("--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-component-update"),
    *("--hide-scrollbars", "--mute-audio", "--force-color-profile=srgb"),
)
# The protocol's pipes are the descriptors 3 and 4 of the browser.
BEGIN = (
    "import fcntl, os, sys; ends = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3]]; "
    "os.dup2(ends[0], 3); os.dup2(ends[1], 4); os.execv(sys.argv[3], sys.argv[3:])"
)
KEYS = {
    **{name: (name, code) for name, code in (("ArrowLeft", 37), ("ArrowUp", 38), ("ArrowRight", 39), ("Home", 36))},
    **{name: (name, code) for name, code in (("End", 35), ("Tab", 9), ("Enter", 13))},
    "Space": (" ", 32),
}
SECONDS = 60.0  # for an answer; far above what a busy machine needs

Message = dict[str, Any]


def program() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def missing() -> str:
    """Why there is no browser here, or nothing."""
    return "" if program() else "needs a browser: apt-get install chromium"


class Navigated(Exception):
    """The page went to another one before it answered."""


class Browser:
    """A running Chromium; `open` gives a page with a profile of its own."""

    def __init__(self, folder: Path) -> None:
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        for end in (theirs_in, theirs_out):
            os.set_inheritable(end, True)
        path = program()
        assert path is not None
        deaf = [sys.executable, str(Path(__file__).with_name("deaf.py"))]
        begin = [sys.executable, "-c", BEGIN, str(theirs_in), str(theirs_out), *deaf, path]
        command = [*begin, *OPTIONS, f"--user-data-dir={folder}", "about:blank"]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, pass_fds=(theirs_in, theirs_out))
        os.close(theirs_in)
        os.close(theirs_out)
        self._number, self._waiting = 0, b""
        self.pages: dict[str, Page] = {}
        """By the session's id."""

    def open(self, url: str, width: int = 1280, height: int = 900) -> Page:
        """A page that has loaded."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self.pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.resize(width, height)
        page.go(url)
        return page

    def call(self, method: str, session: str = "", **parameters: Any) -> Message:
        """Sends a command and waits for its answer. Raises AssertionError if it fails."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + SECONDS
        while (answer := self._next(end)).get("id") != self._number:
            pass
        if "navigated or closed" in answer.get("error", {}).get("message", ""):
            raise Navigated(method)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def _next(self, end: float) -> Message:
        """The next message; events go to their page as well."""
        while b"\0" not in self._waiting:
            assert select.select([self._in], [], [], max(0, end - time.monotonic()))[0], "the browser does not answer"
            part = os.read(self._in, 1 << 20)
            assert part, "the browser has ended"
            self._waiting += part
        line, self._waiting = self._waiting.split(b"\0", 1)
        message: Message = json.loads(line)
        if page := self.pages.get(message.get("sessionId", "")):
            page.hear(message.get("method", ""), message.get("params", {}))
        return message

    def close(self) -> None:
        os.close(self._out)  # it ends by itself, also if pytest is killed
        os.close(self._in)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            processes.kill_all(self.process)


class Page:
    """A tab. `problems`: errors of the console, scripts and loading; `requests`: every URL that it has asked for."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.browser, self.session = browser, session
        self.url = ""
        self.problems: list[str] = []
        self.requests: list[str] = []

    @property
    def foreign(self) -> list[str]:
        """Requests beyond the page's own origin; of a file, beyond the file."""
        origin = self.url.partition("#")[0] if self.url.startswith("file:") else "/".join(self.url.split("/")[:3]) + "/"
        return [url for url in self.requests if not url.startswith((origin, "data:", "blob:", "about:"))]

    def call(self, method: str, **parameters: Any) -> Message:
        return self.browser.call(method, self.session, **parameters)

    def hear(self, method: str, what: Message) -> None:
        """Keeps an event."""
        if method == "Network.requestWillBeSent":
            self.requests.append(what["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = what["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and what["type"] in ("error", "warning", "assert"):
            self.problems.append(" ".join(str(value.get("value", "")) for value in what["args"]))
        elif method == "Log.entryAdded" and what["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"{what['entry']['text']} {what['entry'].get('url', '')}")

    def go(self, url: str) -> None:
        """Opens a URL and waits until it has loaded."""
        self.url = url
        answer = self.call("Page.navigate", url=url)
        assert not answer.get("errorText"), f"{url}: {answer['errorText']}"
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def reload(self) -> None:
        """Loads the page again and waits for it."""
        self.js("window.old = true")
        self.call("Page.reload")
        self.wait("!window.old && document.readyState === 'complete'")

    def js(self, expression: str) -> Any:
        """The value of an expression, of a promise what it ends with. Raises AssertionError for what it throws."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, f"{expression}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    def _holds(self, expression: str) -> bool:
        try:
            return bool(self.js(f"Boolean({expression})"))
        except Navigated:
            return False

    def wait(self, expression: str, seconds: float = SECONDS) -> Any:
        """The expression's value as soon as it is true."""
        end = time.monotonic() + seconds
        while not (value := self._holds(expression)):
            assert time.monotonic() < end, f"did not come: {expression}; problems: {self.problems}"
            time.sleep(0.05)
        return value

    def text(self, selector: str) -> str:
        """What is shown of the first element."""
        return self.js(f"document.querySelector({json.dumps(selector)}).innerText")

    def press(self, key: str) -> None:
        name, code = KEYS[key]
        text = {"Enter": "\r", "Space": " "}.get(key, "")
        more = {"key": name, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **more)
        self.call("Input.dispatchKeyEvent", type="keyUp", **more)

    def resize(self, width: int, height: int) -> None:
        """The size of the window, CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def prefer(self, scheme: str = "light", motion: str = "no-preference") -> None:
        """What the user prefers: light or dark; no-preference or reduce."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": motion},
        ]
        self.call("Emulation.setEmulatedMedia", features=features)

    def scripts(self, allowed: bool) -> None:
        """Whether the page's own scripts run, from the next load on."""
        self.call("Emulation.setScriptExecutionDisabled", value=not allowed)

    def violations(self) -> list[str]:
        """What axe finds against WCAG 2 A and AA."""
        self.js((importlib.resources.files("axe_core_python") / "axe.min.js").read_text() + "; true")
        found = self.js("axe.run().then(found => found.violations.map(v => [v.id, v.help, v.nodes.map(n => n.html)]))")
        return [f"{rule}: {text}: {nodes[:3]}" for rule, text, nodes in found]

    def set(self, selector: str, value: str | float, event: str = "input") -> None:
        """A control's value, as if the user had chosen it."""
        self.js(
            f"(element => {{ element.value = {json.dumps(str(value))}; element.dispatchEvent(new Event('{event}')); }})"
            f"(document.querySelector({json.dumps(selector)}))"
        )

    def click(self, selector: str) -> None:
        self.js(f"document.querySelector({json.dumps(selector)}).click()")

    def screenshot(self, path: Path, whole: bool = False) -> Path:
        """A PNG of what is seen, or of the complete page."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole, format="png")["data"]
        path.write_bytes(base64.b64decode(data))
        return path


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Chromium with an empty profile, gone at the end."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        running = Browser(Path(folder))
        try:
            yield running
        finally:
            running.close()
