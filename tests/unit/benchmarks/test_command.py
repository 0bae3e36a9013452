"""How the benchmarks' commands end, and how a document repeats them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.common.command import exit_code_of, spoken


def test_a_document_names_no_path_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {tmp_path / "out": "OUT", Path("/data/cifar10"): "SHARDS", tmp_path / "w.pt": "WEIGHTS", None: "NONE"}
    arguments = ["out", "--data", "/data/cifar10", "--extractors", "classifier,inception=w.pt", "run.name=out of it"]
    command = "python -m benchmarks.x OUT --data SHARDS --extractors classifier,inception=WEIGHTS 'run.name=out of it'"
    assert spoken("benchmarks.x", arguments, names) == command


def test_overrides_of_the_environment_end_a_benchmark_before_it_begins(monkeypatch, capsys):
    monkeypatch.setenv("DISTGAN_OVERRIDES", "train.images=10")
    assert exit_code_of(lambda: 1 // 0) == 2
    assert "DISTGAN_OVERRIDES would win over what a benchmark sets" in capsys.readouterr().err
