"""The command line of `distgan prepare`, its progress, and what it must not load."""

import argparse
import os
import subprocess
import sys

import pytest

from distgan.cli import prepare
from distgan.data.shards.manifest import load_manifest
from distgan.utils import progress
from distgan.utils.errors import DataError
from tests.support.processes import ROOT


def _run(*arguments):
    parser = argparse.ArgumentParser()
    prepare.add_arguments(parser)
    return prepare.run(parser.parse_args([str(argument) for argument in arguments]))


def test_one_line_says_what_was_made_and_the_second_run_that_it_is_there(tmp_path, capsys):
    out = tmp_path / "shapes"
    command = ("shapes", "--out", out, "--count", 40, "--shard-size", 30, "--classes", "star, heart")
    assert _run(*command) == 0
    assert _run(*command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{out}: 40 train images of 32x32 in 2 classes, 2 shards, 0.1 MiB: made (")
    assert "already complete" in lines[1]
    assert load_manifest(out).class_counts == {"heart": 20, "star": 20}


def test_verify_makes_nothing_and_checks_what_is_there(tmp_path, capsys):
    out = tmp_path / "shapes"
    with pytest.raises(DataError, match="does not exist"):
        _run("shapes", "--out", out, "--verify")
    assert not out.exists()
    _run("shapes", "--out", out, "--count", 40, "--quiet")
    _run("shapes", "--out", out, "--verify")
    assert "verified" in capsys.readouterr().out
    with pytest.raises(DataError, match="holds shapes, not cifar10"):
        _run("cifar10", "--out", out, "--verify")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("shapes",), "--out"),
        (("shapes", "--out", "x", "--count", "0"), "'0' is not a whole number of 1 or more"),
        (("shapes", "--out", "x", "--shard-size", "1e3"), "'1e3' is not a whole number"),
        (("shapes", "--out", "x", "--seed", "-1"), "'-1' is not a whole number of 0 or more"),
        (("shapes", "--out", "x", "--split", "val"), "invalid choice: 'val'"),
        (("folder", "--out", "x"), "DIR"),
        (("imagenet", "--out", "x"), "invalid choice: 'imagenet'"),
        (("folder", "DIR", "--out", "x", "--size", "5000"), "'5000' is above 4096, the largest size"),
    ],
)
def test_a_wrong_argument_is_refused_by_the_parser(arguments, reason, capsys):
    with pytest.raises(SystemExit) as stop:
        _run(*arguments)
    assert stop.value.code == 2
    assert reason in capsys.readouterr().err


def test_every_option_has_a_help_text(capsys):
    for source in ("shapes", "cifar10", "cifar100", "mnist", "folder", "zip", "npz", "outside"):
        with pytest.raises(SystemExit):
            _run(source, "--help")
        assert "--overwrite" in capsys.readouterr().out


def test_preparing_loads_neither_torch_nor_webdataset():
    code = "import sys, distgan.data.prepare; print(sorted({'torch', 'webdataset', 'wandb'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_progress_without_a_terminal_is_a_line_now_and_then(monkeypatch, capsys):
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    assert list(progress.track(range(5), 5, "work", "images")) == [0, 1, 2, 3, 4]
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "work: 3 images, 60 % of 5 images, about 8 s left, 0 images/s",
        "work: 5 images in 24.0 s",
    ]


def test_progress_in_bytes_counts_the_length_of_blocks(monkeypatch, capsys):
    blocks = [b"x" * 2**20] * 3
    assert list(progress.track(blocks, None, "file", "B", weigh=len)) == blocks
    assert capsys.readouterr().err.startswith("file: 3.0 MiB in ")


def test_disabled_progress_is_silent(capsys):
    assert list(progress.track(iter("abc"), 3, "work", "letters", enabled=False)) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def test_progress_on_a_terminal_is_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert len(list(progress.track(range(7), 7, "work", "images"))) == 7
    error = capsys.readouterr().err
    assert "work: 100%" in error
    assert "7/7" in error
