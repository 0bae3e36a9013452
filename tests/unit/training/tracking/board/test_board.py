"""The board: checked by W&B's own models, by the documented metrics, and against a stand-in for W&B's server."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
import wandb

from distgan.cli.main import main
from distgan.metrics.registry import BETTER
from distgan.training.tracking.board.panels import EXTRACTORS, KINDS, Panel, sections
from tests.support.wandb_server import fake_wandb
from tests.unit.training.tracking.test_wandb import _no_credentials, documented  # noqa: F401  # a fixture

KEY = "0123456789abcdef" * 2 + "01234567"
PAGE = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
USER = {"id": "u1", "entity": "someone", "username": "someone", "email": "", "flags": "{}", "teams": {"edges": []}}
VIEW = {"id": "v1", "name": "nw-abc-v", "type": "runs", "displayName": "distgan", "description": "", "updatedAt": None}
VIEW |= {"project": {"id": "p1", "name": "distgan", "entityName": "someone"}, "spec": '{"version": 5, "blocks": []}'}

RUN = {"id": "r1", "name": "a1b2c3d4", "displayName": "quickstart", "state": "finished", "tags": [], "projectId": 1}
RUN |= dict.fromkeys(("sweepName", "group", "jobType", "commit", "description", "notes"))
RUN |= {"readOnly": False, "historyLineCount": 1, "createdAt": "2026-01-01T00:00:00"}
RUN |= {"heartbeatAt": RUN["createdAt"], "user": {"name": "someone", "username": "someone"}}
RUNS = {"totalCount": 1, "pageInfo": PAGE, "edges": [{"node": RUN, "cursor": "c"}]}


def panels() -> list[Panel]:
    return [panel for section in sections(["nearest_Dino"]) for panel in section.panels]


def test_every_panel_shows_what_is_documented_and_every_score_has_one():
    shown = {name for panel in panels() for name in panel.names}
    scores = {name.split("/")[1] for name in documented("score")}
    assert scores == set(BETTER)
    known = {*documented("metric"), *documented("score"), *documented("image in W&B")}
    known |= {f"{kind}/{name}" for kind in ("quality_real", "quality_best") for name in scores}
    own = {f"{kind}/nearest_Dino" for kind in KINDS}
    assert {name for name in shown if not name.startswith("system/")} - own <= known
    assert {f"quality/{score}" for score in scores} <= shown


def test_the_losses_the_probabilities_and_a_score_with_its_floor_and_its_best_share_a_panel():
    shared = {panel.names for panel in panels()}
    assert ("loss/d", "loss/g") in shared
    assert ("d/real_prob", "d/fake_prob") in shared
    fd = [f"{kind}/{name}" for name in ("fd_efficientnet_lite0", "fd_classifier", "fid") for kind in KINDS]
    assert tuple(fd) in shared
    assert EXTRACTORS == ("efficientnet_lite0", "classifier", "inception")


def printed(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    pytest.importorskip("wandb_workspaces")
    assert main(["board", "--print", *options]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_the_workspace_is_one_that_w_and_b_s_own_library_reads_and_images_are_its_x_axis(capsys):
    shown = printed(capsys, "--project", "mine", "--entity", "lab")
    assert (shown["project"], shown["entity"], shown["displayName"]) == ("mine", "lab", "distgan")
    from wandb_workspaces.workspaces import Workspace
    from wandb_workspaces.workspaces.internal import View

    read = Workspace._from_model(View.model_validate(shown))
    assert [section.name for section in read.sections] == ["Health", "Quality", "Samples", "Speed", "System"]
    assert read.settings.x_axis == "images"
    plots = [panel for section in read.sections for panel in section.panels if hasattr(panel, "y")]
    assert {plot.x.name for plot in plots} == {"images", "RelativeTime(Process)"}
    assert all(plot.x.name == "images" or plot.y[0].name.startswith("system/") for plot in plots)
    assert plots[1].range_y == (0, 1)


def test_a_report_compares_the_runs_by_name_or_id_in_the_project_of_the_report(capsys):
    shown = printed(capsys, "--report", "quickstart", "a1b2c3d4")
    assert shown["displayName"] == "quickstart, a1b2c3d4"
    grids = [block["metadata"] for block in shown["spec"]["blocks"] if block["type"] == "panel-grid"]
    assert len(grids) == 1 + len(sections())
    for grid in grids:
        (runs,) = grid["runSets"]
        keys = [(each["key"]["name"], each["value"]) for each in runs["filters"]["filters"]]
        assert keys == [("name", ["quickstart", "a1b2c3d4"]), ("displayName", ["quickstart", "a1b2c3d4"])]
        assert "project" not in runs
    from wandb_workspaces.reports.v2.internal import ReportViewspec

    assert ReportViewspec.model_validate(shown | {"spec": json.dumps(shown["spec"])})


def test_the_environment_names_project_and_entity_where_the_command_line_does_not(capsys, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "faces")
    monkeypatch.setenv("WANDB_ENTITY", "lab")
    wandb.teardown()
    assert {key: printed(capsys)[key] for key in ("project", "entity")} == {"project": "faces", "entity": "lab"}


@pytest.fixture
def server(monkeypatch):
    pytest.importorskip("wandb_workspaces")
    with fake_wandb() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        project = {"__typename": "Project", "id": "p1", "name": "distgan", "entityName": "someone", "user": None}
        project |= {"createdAt": "2026-01-01T00:00:00", "isBenchmark": False}
        server.answers = {
            "Viewer": {"viewer": USER},
            "GetDefaultEntity": {"viewer": {"id": "u1", "entity": "someone"}},
            "GetProjects": {"models": {"pageInfo": PAGE, "edges": [{"node": project}]}},
            "Runs": {"project": {"internalId": "1", "runCount": 1, "readOnly": False, "runs": RUNS}},
            "UpsertView2": {"upsertView": {"view": VIEW, "inserted": True}},
            "upsertView": {"upsertView": {"view": VIEW, "inserted": True}},
        }
        yield server


def test_a_board_is_saved_as_a_view_of_the_project_and_its_address_is_printed(server, capsys):
    assert main(["board"]) == 0
    assert capsys.readouterr().out == f"board: {server.url}/someone/distgan?nw=abc\n"
    (saved,) = [variables for operation, variables in server.requests if operation == "UpsertView2"]
    assert (saved["entityName"], saved["projectName"], saved["type"]) == ("someone", "distgan", "project-view")
    assert len(json.loads(saved["spec"])["section"]["panelBankConfig"]["sections"]) == len(sections())


def test_a_report_is_saved_when_all_its_runs_are_in_the_project(server, capsys):
    assert main(["board", "--report", "quickstart", "a1b2c3d4"]) == 0
    assert capsys.readouterr().out == f"board: {server.url}/someone/distgan/reports/quickstart,-a1b2c3d4--v1\n"
    (saved,) = [variables for operation, variables in server.requests if operation == "upsertView"]
    assert (saved["projectName"], saved["type"]) == ("distgan", "runs")
    assert "someone/distgan has no run other; give names or ids" in mistake(capsys, "--report", "quickstart", "other")


def mistake(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["board", *options]) == 2
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert "Traceback" not in sentence
    return sentence


def test_without_a_key_the_command_says_how_to_get_one(capsys):
    pytest.importorskip("wandb_workspaces")
    assert "W&B has no API key; run `wandb login`" in mistake(capsys)


def test_without_the_extra_it_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    for option in ((), ("--print",)):
        assert 'pip install "distgan[board]"' in mistake(capsys, *option)


def test_an_unknown_project_is_not_made_and_the_nearest_is_named(server, capsys):
    assert "W&B has no project someone/distgam; give --project or --entity; nearest: distgan" in mistake(
        capsys, "--project", "distgam"
    )
    assert "UpsertView2" not in server.operations


def test_a_server_that_is_away_is_one_sentence(capsys, monkeypatch):
    pytest.importorskip("wandb_workspaces")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr("distgan.training.tracking.board.views.SECONDS", 3.0)
    assert "the board cannot be made at http://127.0.0.1:9 (" in mistake(capsys)
