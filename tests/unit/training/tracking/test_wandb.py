"""W&B with the real wandb: offline runs read back with its own reader, and servers that are away, hang or die.

No network: the server is `fake_wandb` on loopback. What the real server makes of it is not tested.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import wandb

from distgan.config.schema import Config, WandbConfig
from distgan.training.tracking.backend import Samples
from distgan.training.tracking.tracker import open_tracker, read_metrics
from distgan.training.tracking.wandb_mode import choose_mode
from distgan.training.tracking.wandb_run import artifact_name
from distgan.utils.background import Worker
from distgan.utils.errors import ConfigError
from tests.support.processes import ROOT
from tests.support.wandb_server import FakeWandb, fake_wandb

KEY = "0123456789abcdef" * 2 + "01234567"
recent = pytest.mark.skipif(
    tuple(map(int, wandb.__version__.split(".")[:2])) < (0, 31),
    reason="wandb's reader and its requests are those of 0.31",
)


@pytest.fixture(autouse=True)
def _no_credentials(tmp_path: Path, monkeypatch):
    """Each test starts without keys, settings or a running wandb."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    wandb.teardown()
    yield
    wandb.teardown()
    os.environ.pop("WANDB_DATA_DIR", None)


def config(directory: Path, **options: Any) -> Config:
    return Config.model_validate({"run": {"dir": directory, "name": "run"}, "wandb": options})


# Which mode


def test_without_a_key_auto_is_offline_and_says_why():
    assert choose_mode(WandbConfig()) == ("offline", "W&B has no API key, so this run is recorded offline")


def test_with_a_key_in_the_environment_auto_is_online(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert choose_mode(WandbConfig()) == ("online", None)


def test_with_a_key_in_netrc_auto_is_online(tmp_path: Path):
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {KEY}\n")
    (tmp_path / "netrc").chmod(0o600)
    assert choose_mode(WandbConfig()) == ("online", None)


def test_a_malformed_key_is_named_and_the_run_is_offline(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "short")
    mode, why = choose_mode(WandbConfig())
    assert mode == "offline"
    assert "WANDB_API_KEY" in why


@pytest.mark.parametrize(("value", "mode"), [("offline", "offline"), ("disabled", "disabled"), ("online", "online")])
def test_auto_respects_wandb_mode(value, mode, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", value)
    assert choose_mode(WandbConfig())[0] == mode


def test_wandb_mode_online_without_a_key_is_no_reason_to_stop(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    assert choose_mode(WandbConfig())[0] == "offline"


def test_an_explicit_mode_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert choose_mode(WandbConfig(mode="online")) == ("online", None)
    assert choose_mode(WandbConfig(mode="offline")) == ("offline", None)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("WANDB_MODE", "onlin", r"WANDB_MODE=onlin must be one of online, offline, .*; nearest: online"),
        ("WANDB_MODE", "OFFLINE", r"WANDB_MODE=OFFLINE must be one of .*; nearest: offline"),
        ("WANDB_MODE", "", r"WANDB_MODE= must be one of .*, or unset it and use wandb.mode"),
        ("WANDB_RUN_ID", "a/b", r"WANDB_RUN_ID=a/b must be 1 to 64 letters, digits, '-' or '_'; unset it"),
        ("WANDB_CONSOLE", "banana", r"W&B's environment variables or .* are wrong: console: Input should be"),
        ("WANDB_PROJECT", "p" * 129, r"are wrong: Invalid project name .*: exceeded 128 characters"),
    ],
)
@recent
def test_a_wrong_variable_of_wandb_s_is_named_before_training_and_does_not_matter_when_disabled(
    name, value, sentence, monkeypatch
):
    monkeypatch.setenv(name, value)
    for mode in ("auto", "offline", "auto"):  # again: nothing is left of the first try
        with pytest.raises(ConfigError, match=sentence):
            choose_mode(WandbConfig(mode=mode))
    assert choose_mode(WandbConfig(mode="disabled")) == ("disabled", None)


def test_online_without_a_key_is_refused_with_three_ways_out():
    with pytest.raises(ConfigError, match=r"wandb login.*WANDB_API_KEY.*wandb\.mode=offline"):
        choose_mode(WandbConfig(mode="online"))


def test_a_wandb_that_cannot_be_imported_does_not_stop_training(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    mode, why = choose_mode(WandbConfig())
    assert mode == "disabled"
    assert "cannot be imported" in why


def test_disabled_does_not_import_wandb(tmp_path: Path):
    code = (
        "import sys; from distgan.config.schema import Config;"
        "from distgan.training.tracking.tracker import open_tracker;"
        f"c = Config.model_validate({{'run': {{'dir': {str(tmp_path)!r}}}, 'wandb': {{'mode': 'disabled'}}}});"
        "t = open_tracker(c, start_images=0, run_id='a', description={});"
        "t.log(1, {'x': 1.0}); t.finish();"
        "sys.exit('wandb' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}).returncode == 0


# The worker


def test_a_call_that_raises_switches_off_with_one_warning():
    warnings: list[str] = []
    made: list[int] = []
    worker = Worker("W&B", warnings.append)
    for number in range(3):
        worker.put("run.log", lambda number=number: made.append(1 // number))
    assert worker.last("run.finish", lambda: made.append(99), 5)
    assert made == [99]
    assert warnings == [
        "W&B is off for the rest of this run: run.log raised ZeroDivisionError: integer division or modulo by zero"
    ]


def test_a_call_that_hangs_never_blocks_and_is_given_up(monkeypatch):
    monkeypatch.setattr("distgan.utils.background.QUEUE_SIZE", 4)
    warnings: list[str] = []
    hangs, over = threading.Event(), threading.Event()
    worker = Worker("W&B", warnings.append)
    worker.put("run.log", lambda: (hangs.set(), over.wait()))
    assert hangs.wait(60)
    caller = threading.Thread(target=lambda: [worker.put("run.log", lambda: None) for _ in range(10)], daemon=True)
    caller.start()
    caller.join(60)
    assert not caller.is_alive(), "it waits for the call"
    assert worker.dropped == 6
    monkeypatch.setattr("distgan.utils.background.CALL_SECONDS", 0.0)
    worker.put("run.log", lambda: None)
    assert not worker.last("run.finish", lambda: None, 0.2)
    over.set()
    assert warnings == [
        "W&B is too slow (in run.log): rows are being dropped",
        "W&B is off for the rest of this run: run.log has not returned for 0 s",
    ]


# What lands in a run


def documented(header: str) -> list[str]:
    """First columns of the tables in docs/metrics.md and docs/wandb.md whose first heading is `header`."""
    text = "".join((ROOT / "docs" / name).read_text() + "\n" for name in ("metrics.md", "wandb.md"))
    names = []
    for table in re.findall(rf"^\| {re.escape(header)} \|.*\n\|.*\n((?:\|.*\n)+)", text, re.MULTILINE):
        for line in table.splitlines():
            names += re.findall(r"`([^`]+)`", re.match(r"^\| (`[^|]+`) \|", line)[1])
    return names


def records(piece: Path) -> list[dict[str, Any]]:
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(piece)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=piece).stdout
    return [json.loads(line) for line in output.splitlines()]


@recent
def test_an_offline_run_holds_every_documented_metric_the_grids_the_config_and_the_artifact(tmp_path: Path, capsys):
    pixels = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    exported = tmp_path / "generator.safetensors"
    exported.write_bytes(b"weights")
    metrics = {name: float(index) for index, name in enumerate(documented("metric") + documented("score"))}
    assert len(metrics) == 43 + 31
    description = {
        "config": {"train": {"images": 5}, "data": {"classes": ["a", "b"]}},
        "git_revision": "abc-dirty", "parameters": {"g": 7},
    }  # fmt: skip
    made = config(tmp_path, tags="a,b")
    tracker = open_tracker(made, start_images=0, run_id="id123456", description=description, manifest="{}")
    for images in (64, 128):
        tracker.log(images, {**metrics, "loss/g": float("nan")})
        tracker.samples(images, Samples(pixels, pixels, None, f"{images} images", pixels.repeat(2, 1, 1, 1), "between"))
    tracker.artifact(exported, {"images": 128})
    tracker.artifact(tmp_path / "gone", {})
    tracker.finish()

    (piece,) = (tmp_path / "run" / "wandb").glob("offline-run-*-id123456")
    found = records(piece)
    history = [record["history"] for record in found if record["type"] == "history"]
    assert [row["step"]["num"] for row in history] == [64, 128]
    assert [row["item"]["images"] for row in history] == [64, 128]
    assert set(history[0]["item"]) >= {*metrics, *(f"{name}.path" for name in documented("image in W&B"))}
    assert "samples/reals.path" not in history[1]["item"]
    assert history[1]["item"]["loss/d"] == metrics["loss/d"]
    run = next(record["run"] for record in found if record["type"] == "run")
    assert run["display_name"] == "run"
    assert run["tags"] == ["a", "b"]
    assert run["config"]["update"] == {
        "train.images": 5, "data.classes": ["a", "b"],
        "run/git_revision": "abc-dirty", "run/parameters_g": 7,
    } | {"_wandb": run["config"]["update"].get("_wandb")}  # fmt: skip
    assert any(r["type"] == "metric" and r["metric"].get("step_metric") == "images" for r in found)
    artifact = next(record for record in found if "artifact" in record["type"])
    assert "generator-run" in json.dumps(artifact)
    assert len(list((piece / "files" / "media" / "images" / "samples").glob("*.png"))) == 5
    assert found[-1]["exit"]["exit_code"] == 0  # beside the run's seconds, where it took any
    printed = capsys.readouterr().err
    assert f"wandb sync {tmp_path}/run/wandb/offline-run-*-id123456" in printed
    assert "was gone or replaced before it could become" in printed
    assert "off for the rest" not in printed


def offline_run(directory: Path, **options: Any) -> dict[str, Any]:
    """The run's record of a training without steps."""
    made = config(directory, mode="offline", **options)
    open_tracker(made, start_images=0, run_id="id123456", description={}).finish()
    (piece,) = (directory / "run" / "wandb").glob("offline-run-*")
    return next(record["run"] for record in records(piece) if record["type"] == "run")


@recent
def test_the_configuration_wins_where_it_says_something_and_wandb_s_own_settings_elsewhere(tmp_path, monkeypatch):
    assert offline_run(tmp_path / "silent")["project"] == "distgan"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "settings").write_text("[default]\nproject = of-the-file\nentity = us\n")
    wandb.teardown()
    of_file = offline_run(tmp_path / "file")
    assert (of_file["project"], of_file["entity"], of_file["display_name"]) == ("of-the-file", "us", "run")
    monkeypatch.setenv("WANDB_PROJECT", "of-the-shell")
    monkeypatch.setenv("WANDB_NAME", "its-name")
    monkeypatch.setenv("WANDB_RUN_GROUP", "its-group")
    monkeypatch.setenv("WANDB_JOB_TYPE", "its-type")
    monkeypatch.setenv("WANDB_NOTES", "its notes")
    wandb.teardown()
    of_shell = offline_run(tmp_path / "shell")
    assert (of_shell["project"], of_shell["display_name"]) == ("of-the-shell", "its-name")
    assert (of_shell["run_group"], of_shell["job_type"], of_shell["notes"]) == ("its-group", "its-type", "its notes")
    configured = offline_run(
        tmp_path / "configured", project="mine", entity="me", group="ours", job_type="sweep", notes="what for"
    )
    assert (configured["project"], configured["entity"]) == ("mine", "me")
    assert (configured["run_group"], configured["job_type"], configured["notes"]) == ("ours", "sweep", "what for")


def test_a_long_run_name_gives_an_artifact_a_name_that_wandb_takes_and_says_so_at_the_start(tmp_path, capsys):
    assert artifact_name("n" * 118) == "generator-" + "n" * 118
    assert len(artifact_name("n" * 119)) == 128
    assert artifact_name("n" * 119) != artifact_name("n" * 120), "two runs do not share their artifacts"
    made = Config.model_validate({"run": {"dir": tmp_path, "name": "n" * 200}, "wandb": {"mode": "offline"}})
    exported = tmp_path / "generator.safetensors"
    exported.write_bytes(b"weights")
    tracker = open_tracker(made, start_images=0, run_id="id123456", description={})
    assert f"its generators are called {artifact_name('n' * 200)} there" in capsys.readouterr().err
    tracker.artifact(exported, {})
    tracker.finish()
    assert "off for the rest" not in capsys.readouterr().err


# Processes

TRAINING = """
import os, sys, time
from pathlib import Path
from distgan.training.tracking import wandb_client as client
from distgan.utils import background
client.INIT_SECONDS, client.UPLOAD_SECONDS, client.FINISH_SECONDS, client.STOP_SECONDS = 3.0, 3.0, 6.0, 2.0
from distgan.config.schema import Config
from distgan.training.tracking.backend import Samples
from distgan.training.tracking.tracker import open_tracker
from distgan.utils.log import show_on_terminal
show_on_terminal()
directory, start, wait_for, end = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
mode = {"mode": os.environ.get("M", "auto")}
config = Config.model_validate({"run": {"dir": directory, "name": "run"}, "wandb": mode})
tracker = open_tracker(config, start_images=start, run_id="id123456", description={"a": 1})
slowest = 0.0
for number in range(1, 201):
    began = time.monotonic()
    tracker.log(start + 10 * number, {"loss/d": 1 / number, **{f"x/{i}": 0.0 for i in range(40)}})
    slowest = max(slowest, time.monotonic() - began)
    if number == 100 and wait_for != "-":
        (directory / "half").touch()
        while not (directory / wait_for).exists():
            time.sleep(0.02)
if end == "raise":
    raise RuntimeError("a bug in training")
tracker.finish()
print("slowest log", slowest)
"""


class Training:
    """A process that logs 200 rows; with `wait_for`, it stands still after 100 until that file is there."""

    def __init__(
        self, directory: Path, *, start: int = 0, wait_for: str = "-", end: str = "finish", **env: str
    ) -> None:
        self.directory, self.began = directory, time.monotonic()
        command = [sys.executable, "-c", TRAINING, str(directory), str(start), wait_for, end]
        directory.mkdir(exist_ok=True)
        env = {**os.environ, "PYTHONPATH": str(ROOT), **env}
        self.process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def until_half(self) -> None:
        while not (self.directory / "half").exists():
            assert self.process.poll() is None
            time.sleep(0.05)

    def service(self) -> psutil.Process:
        """wandb's own process."""
        for _ in range(200):
            for child in psutil.Process(self.process.pid).children():
                if child.name().startswith("wandb-core"):
                    return child
            time.sleep(0.05)
        raise AssertionError("no wandb-core")

    def go_on(self) -> None:
        (self.directory / "go").touch()

    def result(self, seconds: float = 40) -> str:
        """What it printed. It must have ended well, with every row on disk and no log call as slow as what
        it could wait for: the shortest of those takes 3 s."""
        output, _ = self.process.communicate(timeout=seconds)
        assert self.process.returncode == 0, output
        assert len(read_metrics(self.directory / "run" / "metrics.jsonl")) >= 200, output
        assert float(re.search(r"slowest log ([\d.e-]+)", output).group(1)) < 2, output
        return output

    def pieces(self, kind: str) -> list[Path]:
        return sorted((self.directory / "run" / "wandb").glob(f"{kind}-*-id123456"))


def online(server: FakeWandb | str) -> dict[str, str]:
    return {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": server if isinstance(server, str) else server.url}


def rows(piece: Path) -> int:
    return sum(record["type"] == "history" for record in records(piece))


@pytest.mark.slow
@recent
@pytest.mark.parametrize("behaviour", ["refuse", "hang", "error", "drop"])
def test_a_server_that_is_away_at_the_start_makes_the_run_offline(behaviour, tmp_path: Path):
    with fake_wandb("ok" if behaviour == "refuse" else behaviour) as server:
        training = Training(tmp_path, **online("http://127.0.0.1:9" if behaviour == "refuse" else server))
        output = training.result()
    assert "W&B cannot be reached" in output
    assert "wandb sync" in output
    (piece,) = training.pieces("offline-run")
    assert rows(piece) == 200


@pytest.mark.slow
@recent
def test_an_online_run_arrives_whole_and_a_restart_continues_it(tmp_path: Path):
    with fake_wandb() as server:
        assert "wandb sync" not in Training(tmp_path, **online(server)).result()
        assert [row["images"] for row in server.history] == list(range(10, 2001, 10))
        Training(tmp_path, start=2000, **online(server)).result()
        assert [row["_step"] for row in server.history] == list(range(10, 4001, 10))
    assert server.config["run/a"] == {"value": 1}


@pytest.mark.slow
@recent
@pytest.mark.parametrize("behaviour", ["drop", "hang"])
def test_a_server_that_goes_away_in_mid_run_neither_stops_training_nor_its_end(behaviour, tmp_path: Path):
    with fake_wandb() as server:
        training = Training(tmp_path, wait_for="go", **online(server))
        training.until_half()
        while "UpsertBucket" not in server.operations:
            time.sleep(0.05)
        time.sleep(0.5)
        server.behaviour = behaviour
        training.go_on()
        output = training.result()
    assert "did not end well" in output
    (piece,) = training.pieces("run")
    assert f"wandb sync --include-online {piece}" in output
    assert rows(piece) == 200


@pytest.mark.slow
@recent
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_wandb_process_that_is_killed_or_hangs_neither_stops_training_nor_its_end(number, tmp_path: Path):
    training = Training(tmp_path, wait_for="go", M="offline")
    training.until_half()
    service = training.service()
    time.sleep(1)
    service.send_signal(number)
    training.go_on()
    output = training.result()
    assert ("off for the rest of this run" if number == signal.SIGKILL else "did not end within 6 s") in output
    assert not service.is_running() or service.status() == psutil.STATUS_ZOMBIE


@pytest.mark.slow
@recent
def test_a_crash_in_training_still_saves_the_offline_run_and_keeps_its_exit_code(tmp_path: Path):
    training = Training(tmp_path, end="raise", M="offline")
    output, _ = training.process.communicate(timeout=40)
    assert training.process.returncode == 1
    assert "RuntimeError: a bug in training" in output
    (piece,) = training.pieces("offline-run")
    assert rows(piece) == 200
    assert records(piece)[-1]["exit"]["exit_code"] == 1


@pytest.mark.slow
@recent
def test_wandb_sync_makes_one_run_of_the_offline_pieces_of_a_training(tmp_path: Path):
    """The second start repeats images 1510 to 2000: its rows are kept, with other steps but the right images."""
    Training(tmp_path, M="offline").result()
    time.sleep(1)  # the names of the pieces hold whole seconds
    training = Training(tmp_path, start=1500, M="offline")
    training.result()
    pieces = training.pieces("offline-run")
    assert len(pieces) == 2
    assert [row["images"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == list(range(10, 3501, 10))
    with fake_wandb() as server:
        command = [str(Path(sys.executable).with_name("wandb")), "sync", *map(str, reversed(pieces))]
        subprocess.run(command, env={**os.environ, **online(server)}, check=True, timeout=60)
        assert server.operations.count("RunResumeStatus") == 2
        assert [row["images"] for row in server.history] == [*range(10, 2001, 10), *range(1510, 3501, 10)]
        steps = [row["_step"] for row in server.history]
        assert steps == sorted(set(steps))
        again = subprocess.run(
            command, env={**os.environ, **online(server)}, capture_output=True, text=True, timeout=60
        )
        assert "No runs to sync" in again.stdout + again.stderr


@pytest.mark.slow
def test_on_a_terminal_nothing_asks_for_a_key(tmp_path: Path):
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TRAINING, str(tmp_path), "0", "-", "finish"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    output = b""
    while select.select([leader], [], [], 40)[0]:
        try:
            output += os.read(leader, 4096)
        except OSError:  # the process has closed its end
            break
    assert process.wait(timeout=10) == 0
    text = output.decode()
    assert "W&B has no API key, so this run is recorded offline; upload it later with: wandb login" in text
    assert "Enter your choice" not in text
    assert "paste" not in text.lower()
