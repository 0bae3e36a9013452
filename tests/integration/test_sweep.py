"""launch/sweep.yaml with W&B's own commands, `wandb sweep` and `wandb agent`; the server is a stand-in."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.processes import BIN, ROOT, run
from tests.support.wandb_server import FakeWandb, fake_wandb
from tests.unit.training.tracking.test_wandb import KEY, recent, records

pytestmark = pytest.mark.slow
README = ROOT / "launch" / "README.md"
FILE = ROOT / "launch" / "sweep.yaml"
NOTHING = dict.fromkeys(("description", "createdAt", "heartbeatAt", "updatedAt", "bestLoss", "controller", "scheduler"))
USER = {"id": "u1", "entity": "someone", "username": "someone", "email": "", "flags": "{}", "teams": {"edges": []}}
PROJECT = {"id": "p1", "name": "shapes", "entity": {"id": "e1", "name": "someone"}}


@pytest.fixture
def server() -> Iterator[FakeWandb]:
    with fake_wandb() as server:
        created = {"sweep": {"name": "abc123", "project": PROJECT}, "configValidationWarnings": []}
        sweep = {"id": "s1", "name": "abc123", "method": "bayes", "state": "RUNNING", "config": FILE.read_text()}
        sweep |= NOTHING | {"earlyStopJobRunning": False, "runs": {"edges": []}}
        server.answers = {
            "Viewer": {"viewer": USER},
            "UpsertSweep": {"upsertSweep": created},
            "SweepWithRuns": {"project": {"sweep": sweep}},
            "CreateAgent": {"createAgent": {"agent": {"id": "a1"}}},
        }
        yield server


def trials(settings: list[dict[str, Any]]) -> Any:
    """Answers an agent's heartbeats with one trial after another."""
    left = [
        {
            "type": "run",
            "run_id": f"trial{number}",
            "program": "distgan",
            "args": {k: {"value": v} for k, v in each.items()},
        }
        for number, each in enumerate(settings)
    ]

    def answer(variables: dict[str, Any]) -> dict[str, Any]:
        busy = variables["runState"] != "{}"
        commands = [] if busy else [left.pop(0) if left else {"type": "exit"}]
        return {"agentHeartbeat": {"agent": {"id": "a1"}, "commands": json.dumps(commands)}}

    return answer


def path_with_distgan(folder: Path) -> str:
    """A PATH with the command, as an installation has it."""
    (folder / "bin").mkdir(exist_ok=True)
    command = folder / "bin" / "distgan"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT}:$PYTHONPATH exec {sys.executable} -m distgan "$@"\n')
    command.chmod(0o755)
    return f"{command.parent}:/usr/bin:/bin"


def wandb(server: FakeWandb, folder: Path, *arguments: str) -> str:
    """W&B's command."""
    given = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY, "WANDB_MODE": "online", "WANDB_DIR": str(folder)}
    code, output = run([str(BIN / "wandb"), *arguments], **given, PATH=path_with_distgan(folder))
    assert code == 0, output
    return output


@recent
def test_every_trial_of_the_agent_has_a_run_of_its_own_with_its_settings(server, tiny, tmp_path):
    made = wandb(server, tmp_path, "sweep", "--project", "shapes", "--entity", "someone", str(FILE))
    assert "wandb agent someone/shapes/abc123" in made
    common = dict(option.split("=") for option in tiny() if not option.startswith(("wandb.", "loss.r1")))
    common |= {"wandb.mode": "offline", "train.images": "48", "evaluate.every_images": "24", "evaluate.count": "20"}
    server.answers["Heartbeat"] = trials([common | {"loss.r1_gamma": 0.1}, common | {"loss.r1_gamma": 10.0}])
    output = wandb(server, tmp_path, "agent", "--count", "2", "someone/shapes/abc123")
    for number, gamma in enumerate((0.1, 10.0)):
        directory = tmp_path / f"sweep-trial{number}"
        assert (directory / "generator.safetensors").exists(), output
        assert yaml.safe_load((directory / "config.yaml").read_text())["loss"]["r1_gamma"] == gamma
        (piece,) = (directory / "wandb").glob("offline-run-*")
        recorded = next(record["run"] for record in records(piece) if record["type"] == "run")
        assert (recorded["run_id"], recorded["sweep_id"]) == (f"trial{number}", "abc123")
        assert (directory / "scores.jsonl").read_text().count("shapes_recognised") > 0


def test_the_loop_of_the_readme_trains_each_setting_once_also_when_it_is_started_again(tiny, tmp_path):
    loop = re.search(r"^for gamma.*?^done\n^distgan report.*?\n", README.read_text(), re.DOTALL | re.MULTILINE)
    given = " ".join([*tiny("evaluate.count=20"), "train.images=48"])
    budget = loop[0].replace("evaluate.every_images=5_000", f"evaluate.every_images=24 {given}")
    script = budget.replace("loss.r1_gamma=0 ", "").replace("runs/", f"{tmp_path}/")
    for _ in range(2):
        code, output = run(["bash", "-euc", script], PATH=path_with_distgan(tmp_path))
        assert code == 0, output
    runs = sorted(tmp_path.glob("gamma-*"))
    assert [each.name for each in runs] == ["gamma-0.1", "gamma-1", "gamma-10"]
    gammas = [yaml.safe_load((each / "config.yaml").read_text())["loss"]["r1_gamma"] for each in runs]
    assert gammas == [0.1, 1, 10]
    assert output.count("nothing to do") == 3, output
