"""A stand-in of the Hugging Face Hub: a real HTTP server on loopback, for huggingface_hub in a process of its own.

    with hub_server() as hub:
        done = commands([["push", "g.safetensors", "me/cats"]], hub.environment(cache))
        card = hub.content("me/cats", "README.md")

It speaks what huggingface_hub 0.26 to 2.4 ask for without Xet: repositories, branches, preupload, LFS, commits,
downloads with redirects; it counts what it is sent, and cuts uploads in the middle on demand.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from tests.support.processes import ROOT, environment

OWNER, TOKEN, READER = "me", "hf_" + "w" * 34, "hf_" + "r" * 34  # a token that may write, one that may only read
LICENSES = ("apache-2.0", "mit", "cc-by-nc-4.0", "other")
LFS = re.compile(r"\.(safetensors|png|webp|onnx)$")


@dataclass
class Repository:
    """Files by path on each branch: bytes, or the SHA-256 of a file in the large file storage."""

    private: bool = False
    gated: bool = False
    branches: dict[str, dict[str, bytes | str]] = field(default_factory=lambda: {"main": {}})
    commits: dict[str, list[str]] = field(default_factory=lambda: {"main": ["0" * 40]})
    messages: list[str] = field(default_factory=list)


class Hub(http.server.ThreadingHTTPServer):
    """Attributes: repositories by OWNER/NAME; stored: bytes by SHA-256; puts: (SHA-256, bytes that came); asked."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}
        self.puts: list[tuple[str, int]] = []
        self.asked: list[str] = []
        self.cut: str | None = None
        """A part of a name; uploads of such files break off half-way."""
        self.names: dict[str, str] = {}
        """Names of announced files by size, to know what is uploaded."""
        self.answer: int | None = None
        """A status that everything is answered with."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are expected."""

    def environment(self, cache: Path, token: str | None = TOKEN) -> dict[str, str]:
        """For a process that takes this for the Hub."""
        home = {"HF_HOME": str(cache), "HF_ENDPOINT": self.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        return {**home, "HF_TOKEN": token or "", "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}

    def content(self, repository: str, name: str, branch: str = "main") -> bytes:
        held = self.repositories[repository].branches[branch][name]
        return self.stored[held] if isinstance(held, str) else held


@contextlib.contextmanager
def hub_server() -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


COMMANDS = """
import json, sys, time
time.sleep = lambda seconds: None  # between huggingface_hub's tries
from distgan.cli.main import main
for arguments in json.loads(sys.argv[1]):
    try:
        code = main(arguments)
    except SystemExit as error:
        code = error.code
    print(f"\\x00{code}\\x00", flush=True)
"""


def commands(lines: Sequence[Sequence[str]], variables: dict[str, str], folder: Path) -> list[tuple[int, str]]:
    """Exit code and output of each of these `distgan` commands, one after another in one process in a folder."""
    given = json.dumps([[str(word) for word in line] for line in lines])
    done = subprocess.run(
        [sys.executable, "-u", "-c", COMMANDS, given], env=environment(PYTHONPATH=python_path(), **variables),
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, text=True,
    )  # fmt: skip
    parts = done.stdout.split("\0")
    assert len(parts) == 2 * len(lines) + 1, done.stdout
    return [(int(code), text.lstrip("\n")) for text, code in zip(parts[::2], parts[1::2], strict=False)]


def python_path() -> str:
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_ignored: Any) -> None:
        pass

    def handle_one(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        if self.server.answer is not None:
            self._body()
            return self._json(self.server.answer, {"error": "no"})
        for pattern, handle in ROUTES:
            if found := re.fullmatch(pattern, self.server.asked[-1]):
                return handle(self, *found.groups())
        self._body()
        return self._json(404, {"error": "Not Found"})

    do_GET = do_HEAD = do_POST = do_PUT = handle_one

    # Who asks, and for what

    def _user(self) -> str | None:
        """me; me who may only read; nobody ("") without a token; None for a wrong token."""
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        return {TOKEN: OWNER, READER: f"{OWNER} (read)", "": ""}.get(token)

    def _repository(self, name: str, write: bool = False) -> Repository | None:
        """The repository, or None after an answer that says why not."""
        user, found = self._user(), self.server.repositories.get(name)
        if user is None:
            self._json(401, {"error": "Invalid credentials in Authorization header"})
        elif found is None or (found.private and not user.startswith(OWNER)):
            self._json(404 if user else 401, {"error": "Repository not found"}, **{"X-Error-Code": "RepoNotFound"})
        elif found.gated and user == "":
            self._json(401, {"error": "Access is restricted"}, **{"X-Error-Code": "GatedRepo"})
        elif write and (user != OWNER or not name.startswith(f"{OWNER}/")):
            self._json(403, {"error": "you may not write here"})
        else:
            return found
        return None

    def _files(self, repository: Repository, revision: str) -> dict[str, bytes | str] | None:
        branch = next((name for name, ids in repository.commits.items() if revision in (name, *ids[-1:])), None)
        if branch is None:
            self._json(404, {"error": "Revision not found"}, **{"X-Error-Code": "RevisionNotFound"})
            return None
        return repository.branches[branch]

    # Answers

    def create(self) -> None:
        asked, user = json.loads(self._body()), self._user()
        name = f"{asked.get('organization') or OWNER}/{asked['name']}"
        if not user:
            return self._json(401, {"error": "Invalid username or password."})
        if user != OWNER or not name.startswith(f"{OWNER}/"):
            return self._json(403, {"error": f"You don't have the rights to create a model under {name}"})
        if name in self.server.repositories:
            return self._json(409, {"error": "You already created this model repo", "url": f"{self.server.url}/{name}"})
        private = bool(asked.get("private")) or asked.get("visibility") == "private"
        self.server.repositories[name] = Repository(private)
        return self._json(200, {"url": f"{self.server.url}/{name}", "name": name})

    def info(self, name: str, revision: str | None = None) -> None:
        repository = self._repository(name)
        if repository is None or self._files(repository, revision or "main") is None:
            return
        sha = repository.commits.get(revision or "main", [revision])[-1]
        self._json(200, {"id": name, "modelId": name, "private": repository.private, "sha": sha, "siblings": []})

    def branch(self, name: str, branch: str) -> None:
        self._body()
        if repository := self._repository(name, write=True):
            repository.branches[branch] = dict(repository.branches["main"])
            repository.commits[branch] = [hashlib.sha1(branch.encode()).hexdigest()]
            self._json(200, {})

    def validate(self) -> None:
        """As far as it matters here: the header is YAML, and the license one of the list."""
        header = json.loads(self._body())["content"].split("\n---\n")[0].removeprefix("---\n")
        name = (yaml.safe_load(header) or {}).get("license")
        errors = (
            [{"message": f'"license" must be one of [{", ".join(LICENSES)}]'}] if name not in (None, *LICENSES) else []
        )
        self._json(400 if errors else 200, {"errors": errors, "warnings": []})

    def preupload(self, name: str, revision: str) -> None:
        asked = json.loads(self._body())["files"]
        repository = self._repository(name, write=True)
        files = None if repository is None else self._files(repository, revision)
        if files is None:
            return
        self.server.names |= {str(each["size"]): each["path"] for each in asked}
        answer = [
            {
                "path": each["path"],
                "uploadMode": "lfs" if LFS.search(each["path"]) else "regular",
                "shouldIgnore": False,
                "oid": _oid(files.get(each["path"])),
            }
            for each in asked
        ]
        self._json(200, {"files": answer})

    def batch(self, name: str) -> None:
        asked = json.loads(self._body())
        if self._repository(name, write=True) is None:
            return
        objects = [
            {"oid": each["oid"], "size": each["size"]}
            | (
                {}
                if each["oid"] in self.server.stored
                else {"actions": {"upload": {"href": f"{self.server.url}/storage/{each['oid']}?signature=hunter2"}}}
            )
            for each in asked["objects"]
        ]
        self._json(200, {"transfer": "basic", "objects": objects})

    def put(self, oid: str) -> None:
        name = self.server.names.get(self.headers.get("Content-Length", ""), "")
        if self.server.cut is not None and self.server.cut in name:
            part = self.rfile.read(int(self.headers["Content-Length"]) // 2)
            self.server.puts.append((oid, len(part)))
            self.close_connection = True
            return self.connection.close()
        content = self._body()
        self.server.puts.append((oid, len(content)))
        assert hashlib.sha256(content).hexdigest() == oid
        self.server.stored[oid] = content
        return self._json(200, {})

    def commit(self, name: str, revision: str) -> None:
        lines = [json.loads(line) for line in self._body().splitlines()]
        repository = self._repository(name, write=True)
        files = None if repository is None else self._files(repository, revision)
        if repository is None or files is None:
            return
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                repository.messages.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                assert value["oid"] in self.server.stored, "an LFS file is committed that was not uploaded"
                files[value["path"]] = value["oid"]
        sha = hashlib.sha1(f"{name}{revision}{len(repository.messages)}".encode()).hexdigest()
        repository.commits[revision].append(sha)
        answer = {"success": True, "commitOid": sha, "commitUrl": f"{self.server.url}/{name}/commit/{sha}"}
        self._json(200, {**answer, "pullRequestUrl": None})

    def resolve(self, name: str, revision: str, path: str) -> None:
        repository = self._repository(name)
        files = None if repository is None else self._files(repository, revision)
        if repository is None or files is None:
            return None
        branch = next(each for each, ids in repository.commits.items() if revision in (each, *ids[-1:]))
        commit = {"X-Repo-Commit": repository.commits[branch][-1]}
        if path not in files:
            return self._json(404, {"error": "Entry not found"}, **{"X-Error-Code": "EntryNotFound"}, **commit)
        held, content = files[path], self.server.content(name, path, branch)
        headers = {**commit, "ETag": f'"{_oid(held)}"'}
        if isinstance(held, bytes):
            return self._send(200, content, headers)
        linked = {"X-Linked-ETag": f'"{held}"', "X-Linked-Size": str(len(content))}
        where = {"Location": f"{self.server.url}/storage/{held}?signature=hunter2".replace("127.0.0.1", "localhost")}
        return self._send(302, b"", {**headers, **linked, **where})

    def storage(self, oid: str) -> None:
        self._send(200, self.server.stored[oid], {"ETag": f'"{oid}"'})

    # Bytes

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _json(self, status: int, content: Any, **headers: str) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json", **headers})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _oid(held: bytes | str | None) -> str | None:
    """As git names a file; of the large file storage its SHA-256."""
    return hashlib.sha1(b"blob %d\0" % len(held) + held).hexdigest() if isinstance(held, bytes) else held


ID = r"([\w.-]+/[\w.-]+)"
ROUTES = [
    (r"POST /api/repos/create", _Handler.create),
    (r"POST /api/validate-yaml", _Handler.validate),
    (rf"GET /api/models/{ID}", _Handler.info),
    (rf"GET /api/models/{ID}/revision/(.+)", _Handler.info),
    (rf"POST /api/models/{ID}/branch/(.+)", _Handler.branch),
    (rf"POST /api/models/{ID}/preupload/(.+)", _Handler.preupload),
    (rf"POST /api/models/{ID}/commit/(.+)", _Handler.commit),
    (rf"POST /{ID}\.git/info/lfs/objects/batch", _Handler.batch),
    (r"PUT /storage/(\w+)", _Handler.put),
    (r"(?:GET|HEAD) /storage/(\w+)", _Handler.storage),
    (rf"(?:GET|HEAD) /{ID}/resolve/([^/]+)/(.+)", _Handler.resolve),
]
