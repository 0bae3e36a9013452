"""The console command: every subcommand is listed and can be reached."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from distgan.cli import main as cli
from distgan.cli.main import main


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert f"\n    {name} " in shown


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


@pytest.mark.parametrize("place", [".", "/", "new/.."])
@pytest.mark.parametrize(
    "command",
    [
        "evaluate demo --out",
        "export runs/a --out",
        "explore demo --html",
        "sample demo --walk 0,1 --frames 4 --out",
        "report runs/a --film",
        "report runs/a --out",
        "classifier shards --out",
    ],
)
def test_a_directory_for_a_file_to_be_written_is_one_sentence(command, place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new").mkdir()
    try:
        code = main([*command.split(), place])
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    error = capsys.readouterr().err
    assert "is a directory" in error
    assert "Traceback" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_a_misspelt_demo_is_recognised(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dm").mkdir()
    assert main(["sample", "dmo", "--out", "x.png"]) == 2
    assert "there is no dmo; nearest: demo" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["big", "0", "-1", "nan", "inf"])
@pytest.mark.parametrize("arguments", [["evaluate", "demo"], ["sample", "demo", "--out", "grid.png"]])
def test_a_truncation_that_is_no_number_above_0_is_refused_alike_by_each_command(
    arguments, value, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([*arguments, f"--truncation={value}"])
    assert ended.value.code == 2
    assert f"argument --truncation: '{value}' must be a number above 0, such as 0.7" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["train", "doctor"])
def test_a_rank_that_is_left_in_the_shell_without_a_world_hides_no_mistake(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("RANK", "3")
    assert main([command, "train.imags=1"]) == 2
    assert "train.images" in "".join(capsys.readouterr())


def test_a_mistyped_command_gets_the_nearest(capsys):
    assert main(["trian"]) == 2
    assert capsys.readouterr().err == "distgan has no command 'trian'; nearest: distgan train\n"


@pytest.mark.parametrize("command", ["sample", "train"])
def test_ctrl_c_while_a_command_is_imported_is_no_traceback(command, monkeypatch, capsys):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "import_module", interrupted)
    assert main([command, "demo"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_the_versions_that_cannot_be_written_are_one_sentence():
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "distgan", "--version"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"No space left" in done.stderr


@pytest.mark.parametrize("more", [[], ["--config", "cifar10"]])
def test_a_mistyped_data_path_is_refused_and_nothing_is_prepared_there(shapes, tmp_path, monkeypatch, capsys, more):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "shapes").symlink_to(shapes)
    given = [*more, "data.path=data/shpaes", "train.images=16", "wandb.mode=disabled"]
    assert main(["train", *given]) == 2
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert "data/shpaes does not exist in the working directory" in sentence
    assert "nearest: data/shapes" in sentence
    assert main(["doctor", "--quick", *given]) == 2
    assert "FAIL  data: data/shpaes does not exist" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["shapes"]


OPTIONS = ["prepare shapes --out", "sample FILE --out", "sample FILE --seeds", "export RUN --out", "report RUN --data"]
OPTIONS += ["evaluate FILE --data", "evaluate FILE --out", "train --config", "train --resume", "doctor --config"]


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_with_an_empty_value_or_two_dashes_for_one_is_refused(option, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for value in ("", "--"):
        try:
            code = main([*option.split()[:-1], f"{option.split()[-1]}={value}"])
        except SystemExit as ended:
            code = ended.code
        assert code == 2
        assert capsys.readouterr().err.count("\n") > 0
    assert not list(tmp_path.iterdir())


COMMANDS = ["report ~/x", "evaluate ~/x", "export ~/x", "sample ~/x --out ~/y", "prepare cifar10 --from ~/x --out ~/y"]
COMMANDS += ["prepare folder ~/x --out ~/y", "prepare shapes --verify --out ~/x", "train data.path=~/x"]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_home_directory_is_expanded_in_every_path(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if command.startswith("train"):
        command += " wandb.mode=disabled run.dir=~/runs"
    assert main(command.split()) == 2
    assert f"{tmp_path}/home/x" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] in ([], ["home"])
