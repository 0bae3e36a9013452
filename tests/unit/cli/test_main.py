"""The console command: every subcommand is listed and can be reached."""

from __future__ import annotations

import json

import pytest

from distgan.cli import main as cli
from distgan.cli.main import main


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for name in ("prepare", "doctor", "train", "sample", "export", "evaluate", "report"):
        assert f"\n    {name} " in shown
        assert f" {name} " in (cli.__doc__ or "").replace("`", " ")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert f"usage: distgan {name}" in capsys.readouterr().out


@pytest.mark.slow
def test_a_trained_run_is_evaluated_and_reported(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main(["train", *tiny("train.images=24")]) == 0
    run = tmp_path / "quickstart"
    options = "--extractor", "none", "--count", "20", "--device", "cpu", "--out", str(tmp_path / "scores.json")
    assert main(["evaluate", str(run), *options]) == 0
    assert json.loads((tmp_path / "scores.json").read_text())["images_seen"] == 24
    (run / "report.html").unlink()
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").exists()
    assert f"report: {run}/report.html" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["evaluate", "missing"], ["report", "missing"]])
def test_a_mistake_is_one_sentence_and_exit_code_2(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1
