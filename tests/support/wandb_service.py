"""A real W&B-compatible server on loopback, `openwandb`, and what an online run has left in it.

It lives in an environment of its own and is no dependency: its licence forbids commercial use. It is found by
DISTGAN_TEST_OPENWANDB, the path of its program, or in PATH. The stand-in for a server that fails: `wandb_server.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import held_port, kill_all

KEY = "local" + "0" * 40
"""The key of its only user, whose entity is ENTITY."""
ENTITY = "default"
SECONDS = 60.0  # for its start, on a busy machine
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def program() -> str | None:
    """Path of `openwandb`, or None."""
    return shutil.which(os.environ.get("DISTGAN_TEST_OPENWANDB") or "openwandb")


@dataclass(frozen=True)
class Run:
    """A run as the server has it."""

    service: WandbService
    row: dict[str, Any]
    """What its table of runs holds: run_id, display_name, state, config, tags, notes; no group, no job type."""
    project: str

    @property
    def run_id(self) -> str:
        return str(self.row["run_id"])

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, without W&B's own."""
        values = {key: value.get("value") for key, value in self.row["config"].items() if isinstance(value, dict)}
        return {key: value for key, value in values.items() if key != "_wandb"}

    def file(self, name: str) -> bytes:
        return self.service.get(f"/files/{ENTITY}/{self.project}/{self.run_id}/{name}")

    def files(self) -> set[str]:
        """Names of the files that were uploaded; of others the server knows the name only."""
        found = self.service.json(f"/api/v1/runs/{self.run_id}/files")["files"]
        return {str(file["name"]) for file in found if file["size"]}

    def history(self) -> list[dict[str, Any]]:
        """All rows that were sent, in the order of their arrival; an image is a dict with its path."""
        return [json.loads(line) for line in self.file("wandb-history.jsonl").splitlines() if line.strip()]

    def rows(self) -> int:
        """Number of the rows that have arrived so far."""
        try:
            return len(self.history())
        except urllib.error.HTTPError:
            return 0

    def curve(self, name: str) -> list[tuple[float, float]]:
        """(images, value) of the rows that hold the metric, in the order of their arrival."""
        return [(row["images"], row[name]) for row in self.history() if name in row]

    def summary(self) -> dict[str, Any]:
        """The summary as it was uploaded at the end of the run; the server's table keeps plain values only."""
        return dict(json.loads(self.file("wandb-summary.json")))

    def images(self, name: str) -> list[bytes]:
        """The files of an image, such as samples/fakes, one for each time it was logged and uploaded."""
        uploaded = self.files()
        paths = [row[name]["path"] for row in self.history() if name in row]
        return [self.file(path) for path in paths if path in uploaded]

    def system_metrics(self) -> set[str]:
        """Names of what W&B itself has measured; in shared mode with /l: and the label of the machine."""
        return set(self.service.json(f"/api/v2/runs/{self.run_id}/system_metrics")["system_metrics"])

    def artifacts(self) -> list[dict[str, Any]]:
        """In the order of their creation: name, artifact_type, metadata. The server keeps neither files nor aliases."""
        found = self.service.json(f"/api/v2/runs/{self.run_id}/artifacts")["artifacts"]
        return sorted(found, key=lambda artifact: artifact["id"])

    def output(self) -> str:
        """What W&B shows under Logs; empty if nothing was sent."""
        try:
            return self.file("output.log").decode()
        except urllib.error.HTTPError:
            return ""


@dataclass(frozen=True)
class WandbService:
    url: str

    @property
    def environment(self) -> dict[str, str]:
        """For a process whose runs are to be recorded here."""
        return {"WANDB_MODE": "online", "WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY}

    def get(self, path: str) -> bytes:
        with OPENER.open(self.url + path, timeout=SECONDS) as answer:
            return bytes(answer.read())

    def json(self, path: str) -> dict[str, Any]:
        return dict(json.loads(self.get(path)))

    def runs(self, project: str = "distgan") -> list[Run]:
        """The runs of a project, oldest first."""
        rows = self.json(f"/api/v2/projects/{ENTITY}/{project}/runs")["runs"]
        return [Run(self, row, project) for row in sorted(rows, key=lambda row: row["id"])]

    def only_run(self, project: str = "distgan") -> Run:
        runs = self.runs(project)
        assert len(runs) == 1, f"{len(runs)} runs instead of one"
        return runs[0]


@contextlib.contextmanager
def wandb_service(directory: Path, host: str = "127.0.0.1") -> Iterator[WandbService]:
    """Starts the server, with its data below `directory`, and stops it at the end. host: address that it listens at."""
    directory.mkdir(parents=True, exist_ok=True)
    with held_port() as port, (directory / "log").open("ab") as log:
        command = [str(program()), "serve", "--host", host, "--port", str(port), "--data-dir", str(directory)]
        process = subprocess.Popen(command, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            service = WandbService(f"http://{host}:{port}")
            _wait(service, process, directory / "log")
            yield service
        finally:
            kill_all(process)


def _wait(service: WandbService, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + SECONDS
    while True:
        with contextlib.suppress(OSError):
            service.json("/api/v2/projects")
            return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)
