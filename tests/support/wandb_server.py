"""A stand-in for a W&B server on loopback: enough for wandb 0.31 to start, resume, upload and sync runs.

`behaviour` may change while it runs: "ok" answers; "hang" never does; "drip" answers a byte a second, so that no read
of the client times out; "error" answers 500; "drop" closes every connection at once, as a server that died.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PROJECT = {"id": "p1", "name": "distgan", "entity": {"id": "e1", "name": "someone"}}


class FakeWandb(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, behaviour: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviour = behaviour
        self.released = threading.Event()
        self.run: str | None = None
        self.config: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []  # rows as the server would store them
        self.uploads: list[str] = []
        self.operations: list[str] = []
        self.requests: list[tuple[str, dict[str, Any]]] = []  # operations with their variables
        self.answers: dict[str, Any] = {}  # by operation, or functions of the variables

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        match = re.search(r"(?:query|mutation)\s+(\w+)", query)
        operation = match.group(1) if match else ""
        self.operations.append(operation)
        self.requests.append((operation, variables))
        if operation in self.answers:
            answer = self.answers[operation]
            return dict(answer(variables) if callable(answer) else answer)
        if operation == "RunResumeStatus":
            return {"model": {**PROJECT, "bucket": self._bucket() if self.run else None}}
        if operation == "UpsertBucket":
            inserted, self.run = self.run is None, variables["name"]
            if variables.get("config"):
                self.config.update(json.loads(variables["config"]))
            bucket = {"id": "b1", "name": self.run, "displayName": "run", "config": "{}", "project": PROJECT}
            return {"upsertBucket": {"bucket": {**bucket, "historyLineCount": len(self.history)}, "inserted": inserted}}
        if operation == "CreateRunFiles":
            files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "b1", "uploadHeaders": [], "files": files}}
        if operation == "ServerFeaturesQuery":
            return {"serverInfo": {"features": []}}
        return {}

    def _bucket(self) -> dict[str, Any]:
        counts = {"logLineCount": 0, "eventsLineCount": 0, "historyLineCount": len(self.history)}
        tails = {"historyTail": json.dumps([json.dumps(row) for row in self.history[-1:]]), "eventsTail": "[]"}
        texts = {"summaryMetrics": "{}", "config": "{}", "wandbConfig": json.dumps({"t": 1})}
        return {"id": "b1", "name": self.run, "displayName": "run", "tags": [], **counts, **tails, **texts}

    def stream(self, files: dict[str, Any]) -> None:
        if rows := files.get("wandb-history.jsonl"):
            self.history[rows["offset"] :] = [json.loads(line) for line in rows["content"]]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeWandb

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""

    def _answer(self) -> None:
        if self.server.behaviour == "drop":
            self.close_connection = True
            self.connection.close()
            return
        body = self._body()
        if self.server.behaviour == "hang":
            self.server.released.wait()
            self.close_connection = True
            return
        if self.server.behaviour == "drip":
            self._drip()
            return
        reply: dict[str, Any] = {}
        if self.server.behaviour == "ok":
            if self.path.endswith("/graphql"):
                request = json.loads(body)
                reply = {"data": self.server.graphql(request["query"], request.get("variables") or {})}
            elif self.path.startswith("/upload/"):
                self.server.uploads.append(self.path.removeprefix("/upload/"))
            elif self.path.endswith("/file_stream"):
                self.server.stream(json.loads(body).get("files") or {})
        data = json.dumps(reply).encode()
        self.send_response(200 if self.server.behaviour == "ok" else 500)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "100000")
        self.end_headers()
        with contextlib.suppress(OSError):  # the client has gone
            while not self.server.released.wait(1):
                self.wfile.write(b" ")

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        while self.headers.get("Transfer-Encoding") == "chunked" and (size := int(self.rfile.readline(), 16)):
            body += self.rfile.read(size)
            self.rfile.readline()
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    do_GET = do_POST = do_PUT = _answer


@contextlib.contextmanager
def fake_wandb(behaviour: str = "ok") -> Iterator[FakeWandb]:
    server = FakeWandb(behaviour)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
