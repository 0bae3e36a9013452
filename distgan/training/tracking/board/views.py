"""The board as objects of W&B's library `wandb-workspaces` (extra `board`), which is imported here and late."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from distgan.training.tracking.board.panels import Panel, Section, sections
from distgan.training.tracking.wandb_mode import key_problem, server_url, wandb_settings
from distgan.utils.background import CallTimeout, call_with_timeout, short
from distgan.utils.errors import ConfigError
from distgan.utils.names import nearest_name

SECONDS = 60.0  # for the server to answer everything
ANSWER_SECONDS = 15  # for one of its answers
X_AXES = {"images": "images", "time": "RelativeTime(Process)"}
GRID = (24, 6)  # columns of a report, and rows of a panel in it
MAX_TITLE = 128  # characters, W&B's limit
COLUMNS = ("run:state", "summary:images", "summary:best/score", "summary:best/images", "summary:best/seconds")


@dataclass(frozen=True)
class Board:
    """What is to be made: a workspace, or with `runs` a report that compares them."""

    project: str
    entity: str
    """A user or a team; empty: the key's own."""
    runs: tuple[str, ...] = ()
    """Names or ids of runs in the project."""
    scores: tuple[str, ...] = ()
    """Further scores, by name."""

    @classmethod
    def of(cls, project: str | None, entity: str | None, runs: Sequence[str], scores: Sequence[str]) -> Board:
        """What is None comes from W&B's variables and settings files; the project is distgan without them."""
        settings = wandb_settings()
        return cls(
            project or getattr(settings, "project", None) or "distgan",
            entity or getattr(settings, "entity", None) or "",
            tuple(runs),
            tuple(scores),
        )


def specification(board: Board) -> dict[str, Any]:
    """What W&B is sent, as plain JSON values. Uses no network and no key. Raises ConfigError: the extra is missing."""
    model = _view(board)._to_model()
    return dict(json.loads(model.model_dump_json(by_alias=True, exclude_none=True)))


def publish(board: Board) -> str:
    """Makes the board in W&B, a new one each time, and returns its address.

    Raises ConfigError: no key, extra missing, no answer, unknown project, unknown run.
    """
    _library()
    if problem := key_problem():
        raise ConfigError(f"{problem}; run `wandb login`, set WANDB_API_KEY, or use --print, which needs no key")
    try:
        return call_with_timeout(SECONDS, lambda: _publish(board))
    except CallTimeout:
        reason = f"no answer in {SECONDS:.0f} s"
    except ConfigError:
        raise
    except Exception as error:  # W&B's errors have no common base
        reason = short(error)
    raise ConfigError(
        f"the board cannot be made at {server_url()} ({reason}); check the network, the key and WANDB_BASE_URL, or use "
        "--print, which needs none of them"
    )


def _publish(board: Board) -> str:
    import wandb

    api = wandb.Api(timeout=ANSWER_SECONDS)
    entity = board.entity or str(api.default_entity)
    names = [project.name for project in api.projects(entity)]
    if board.project not in names:
        near = nearest_name(board.project, names)
        nearest = f"; nearest: {near}" if near else ", and a project is made by its first run"
        raise ConfigError(f"W&B has no project {entity}/{board.project}; give --project or --entity{nearest}")
    if board.runs:
        _check_runs(api, entity, board)
    return str(_view(replace(board, entity=entity)).save().url)


def _check_runs(api: Any, entity: str, board: Board) -> None:
    wanted = list(board.runs)
    found = api.runs(
        f"{entity}/{board.project}", filters={"$or": [{"name": {"$in": wanted}}, {"display_name": {"$in": wanted}}]}
    )
    known = {name for run in found for name in (run.id, run.name)}
    if missing := [name for name in wanted if name not in known]:
        raise ConfigError(
            f"{entity}/{board.project} has no run {missing[0]}; give names or ids from its table of runs in W&B"
        )


def _view(board: Board) -> Any:
    return _report(board) if board.runs else _workspace(board)


def _workspace(board: Board) -> Any:
    ws, _ = _library()
    return ws.Workspace(
        entity=board.entity,
        project=board.project,
        name="distgan",
        sections=[_section(section) for section in sections(board.scores)],
        settings=ws.WorkspaceSettings(x_axis="images"),
        runset_settings=ws.RunsetSettings(pinned_columns=list(COLUMNS)),
    )


def _section(section: Section) -> Any:
    ws, _ = _library()
    return ws.Section(
        name=section.name,
        panels=[_panel(panel) for panel in section.panels],
        is_open=True,
        layout_settings=ws.SectionLayoutSettings(columns=section.columns, rows=2),
        panel_settings=ws.SectionPanelSettings(x_axis="images"),
    )


def _report(board: Board) -> Any:
    """A heading and a grid for each section, all of the same runs; first the settings that differ."""
    _, wr = _library()
    from wandb_workspaces import expr

    names = list(board.runs)
    compared = expr.Or(expr.Metric("ID").isin(names), expr.Metric("Name").isin(names))

    def grid(panels: list[Any]) -> Any:  # a set of runs without a project has the report's
        return wr.PanelGrid(runsets=[wr.Runset(name="compared", filters=compared)], panels=panels)

    blocks: list[Any] = [wr.H2("Settings that differ"), grid([wr.RunComparer(diff_only="split", layout=_place(0, 1))])]
    for section in sections(board.scores):
        placed = [_panel(panel, layout=_place(index, section.columns)) for index, panel in enumerate(section.panels)]
        blocks += [wr.H2(section.name), grid(placed)]
    title = ", ".join(names)[:MAX_TITLE]
    return wr.Report(entity=board.entity, project=board.project, title=title, blocks=blocks, width="fluid")


def _place(index: int, columns: int) -> Any:
    _, wr = _library()
    width = GRID[0] // columns
    return wr.Layout(x=index % columns * width, y=index // columns * GRID[1], w=width, h=GRID[1])


def _panel(panel: Panel, **where: Any) -> Any:
    _, wr = _library()
    if panel.kind != "curves":
        axis = "step" if panel.kind == "gallery" else "run"  # W&B's slider goes over what is no axis: its step
        return wr.MediaBrowser(title=panel.title, media_keys=list(panel.names), gallery_axis=axis, **where)
    return wr.LinePlot(
        title=panel.title,
        x=X_AXES[panel.x],
        y=list(panel.names),
        range_y=(None, None) if panel.high is None else (0, panel.high),
        log_y=panel.log or None,
        title_x="images seen" if panel.x == "images" else "seconds",
        **where,
    )


def _library() -> tuple[Any, Any]:
    """The modules for workspaces and for reports. Raises ConfigError: the extra is missing."""
    try:
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
    except ImportError as error:
        raise ConfigError(f'the board needs wandb-workspaces ({short(error)}); pip install "distgan[board]"') from None
    return workspaces, reports
