"""What `distgan report` says to a user: where pages go, and which options do not go together."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from distgan.cli import main
from distgan.utils.local_server import LocalServer

NO_RUN = " is not a run directory: it holds no config.yaml and no metrics.jsonl; give run.dir/run.name"
ONE_RUN = " is for the page that is written of one run, with its generator; leave it out"


@pytest.fixture
def runs(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("runs/a", "runs/b", "others/c"):
        Path(name).mkdir(parents=True)
        Path(name, "metrics.jsonl").write_text('{"images": 64, "loss/d": 0.5}\n')
    return tmp_path / "runs"


def outcome(capsys, *arguments: str) -> tuple[int, str]:
    code = main.main(["report", *arguments])
    shown = capsys.readouterr()
    return code, (shown.out + shown.err).strip()


def test_a_page_goes_into_its_run_and_one_of_several_runs_beside_them(runs, capsys):
    assert outcome(capsys, "runs/a") == (0, "report: runs/a/report.html")
    assert outcome(capsys, "runs/a", "runs/b") == (0, "report: runs/report.html")
    assert outcome(capsys, "runs/a", "--out", "x.html") == (0, "report: x.html")
    assert outcome(capsys, "runs/a", "others/c", "--out", "y.html") == (0, "report: y.html")
    for path in ("runs/a/report.html", "runs/report.html", "x.html", "y.html"):
        assert "<svg" in Path(path).read_text()


def test_all_runs_of_a_directory_may_be_named_again_though_their_page_is_among_them(runs, capsys):
    for _ in range(2):
        assert outcome(capsys, *map(str, sorted(Path("runs").iterdir()))) == (0, "report: runs/report.html")


def test_a_page_of_runs_goes_beside_them_also_where_one_is_the_working_directory(runs, capsys, monkeypatch):
    monkeypatch.chdir(runs / "a")
    assert outcome(capsys, ".", "../b") == (0, f"report: {runs / 'report.html'}")
    assert outcome(capsys, "../b", ".") == (0, "report: ../report.html")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["runs/a", "others/c"], "the runs lie in different directories; say where the page goes: --out FILE"),
        (["runs/a", "runs/../runs/a"], "runs/../runs/a is the same run as runs/a; give it once"),
        (["runs/a", "--port", "80"], "--port is for the live page; add --serve"),
        (["runs/a", "--film", "x.webp", "--serve"], "--serve is for a page, and --film writes none; leave one out"),
        (["runs/a", "--film", "x.webp", "--data", "d"], "--data is for a page, and --film writes none; leave one out"),
        (["runs/a", "runs/b", "--film", "x.webp"], "--film is of one run, and 2 are given; name one"),
        (["runs/a", "--fps", "3"], "--fps is for a film; add --film FILE"),
        (["runs/a", "--film", "x.webp"], "runs/a has no film: there is no samples; a training draws a grid every "
         "log.samples_every_steps"),
        (["runs/a", "--serve", "--out", "x"], "--out is for a page that is written; leave out --serve, or --out"),
        (["runs/a", "runs/b", "--data", "x"], f"--data{ONE_RUN}"),
        (["runs/a", "--serve", "--trust", "x"], f"--trust{ONE_RUN}"),
        ([f"runs/{n}" for n in range(9)], "9 runs are given; a page compares at most 8: leave some out"),
        (["runs", "--serve"], f"runs{NO_RUN}"),
        (["runs/a/metrics.jsonl", "--serve"], f"runs/a/metrics.jsonl{NO_RUN}"),
        (["runs/bb"], "there is no runs/bb; the nearest that is there: runs/b"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(runs, capsys, arguments, sentence):
    assert outcome(capsys, *arguments) == (2, sentence)


def test_a_port_that_is_none_is_refused(runs, capsys):
    with pytest.raises(SystemExit) as ended:
        main.main(["report", "runs/a", "--serve", "--port", "70000"])
    assert ended.value.code == 2
    assert "'70000' is no port; give a number from 1 to 65535, or 0 for any" in capsys.readouterr().err


def test_a_port_that_is_taken_is_one_sentence(runs, capsys):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        code, text = outcome(capsys, "runs/a", "--serve", "--port", str(held.getsockname()[1]))
    assert code == 2
    assert text.endswith("give another with --port, or 0 for any that is free")


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_run_that_a_training_will_make_is_waited_for_with_the_nearest_one_named(runs, capsys, monkeypatch):
    monkeypatch.setattr(LocalServer, "serve_forever", interrupted)
    code, text = outcome(capsys, "runs/quickstart", "--serve", "--port", "0")
    assert code == 0
    assert "there is no runs/quickstart yet; the nearest that is there: runs/a. The page waits for a training" in text
    assert outcome(capsys, "nowhere/x", "--serve", "--port", "0")[0] == 0


def test_ctrl_c_ends_the_live_page_without_an_error(runs, capsys, monkeypatch):
    monkeypatch.setattr(LocalServer, "serve_forever", interrupted)
    code, text = outcome(capsys, "runs/a", "runs/b", "--serve", "--port", "0")
    assert code == 0
    address, end = text.split("\n")
    assert re.fullmatch(r"report: http://127.0.0.1:\d+/ \(only on this machine; Ctrl-C ends it\)", address)
    assert end == "the live page is closed; this ends no training"


@pytest.mark.parametrize("opens", [True, False])
def test_a_browser_is_opened_where_it_is_asked_for_and_its_absence_said(runs, capsys, monkeypatch, opens):
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or opens)
    _, text = outcome(capsys, "runs/a", "--open")
    assert opened == [(runs / "a" / "report.html").as_uri()]
    assert ("there is no browser here" in text) is not opens
