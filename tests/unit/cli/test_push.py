"""`distgan push` and `distgan space`: which generator of a run is taken, and what is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from distgan import load_generator
from distgan.cli.main import main
from distgan.training.checkpoint.find import open_generator
from tests.unit.cli.test_export import run_dir as run_dir  # a fixture
from tests.unit.inference.test_generator_file import export


def test_of_a_run_the_best_generator_is_taken_then_the_newest_checkpoint_then_what_is_left(run_dir, tmp_path):
    run, checkpoint = run_dir[0], run_dir[0] / "checkpoints" / "step-000000002"
    export(run / "generator.safetensors", images_seen=1)
    for given in (run, str(run), checkpoint):
        generator, found = open_generator(given, ())
        assert (generator.images_seen, str(found)) == (24, str(checkpoint))
    export(run / "best.safetensors", images_seen=2)
    generator, found = open_generator(run, ())
    assert (generator.images_seen, str(found)) == (2, str(run / "best.safetensors"))
    assert open_generator(checkpoint, ())[1].path == checkpoint
    (run / "best.safetensors").unlink()
    checkpoint.rename(tmp_path / "away")
    assert open_generator(run, ())[1].path == run / "generator.safetensors"


def test_a_directory_of_the_hub_s_layout_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    load_generator(export(tmp_path / "g.safetensors")).save_pretrained("saved")
    assert open_generator(Path("saved"), ())[1].path == Path("saved/model.safetensors")


def test_a_dry_run_of_a_run_says_which_checkpoint_it_took_and_sends_nothing(run_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("socket.socket", None)
    assert main(["push", str(run_dir[0]), "me/cats", "--dry-run", str(tmp_path / "dry"), "--license", "mit"]) == 0
    shown = capsys.readouterr().out
    assert "model.safetensors (" in shown
    assert shown.endswith("step-000000002; nothing was sent\n")
    generator = load_generator(tmp_path / "dry" / "model.safetensors")
    assert generator.images_seen == 24
    assert "license: mit\n" in (tmp_path / "dry" / "README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["push", "RUN/generator.pt2", "me/x", "--dry-run", "d"], "there is no RUN/generator.pt2"),
        (["push", "program.safetensors", "me/x", "--dry-run", "d"], "program.safetensors is a program"),
        (["push", "RUN", "me/../x", "--dry-run", "d"], "is no repository's name"),
        (["space", "RUN", "--out", "d", "--model", "cats"], "'cats' is no repository's name"),
        (["space", "hf://cats", "--out", "d"], "nearest: hf://OWNER/cats"),
        (["space", "missing", "--out", "d"], "there is no missing"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(run_dir, tmp_path, arguments, sentence, capsys, monkeypatch):
    monkeypatch.chdir(run_dir[0].parent)
    run_dir[0].rename("RUN")
    storage_of_torch = b"PK\x05\x06" + bytes(18)  # an empty zip file
    Path("program.safetensors").write_bytes(b"PK\x03\x04" + bytes(26) + storage_of_torch)
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not Path("d").exists()


def test_a_space_of_a_run_is_written_and_says_how_it_is_started(run_dir, tmp_path, capsys):
    pytest.importorskip("onnxscript")
    assert main(["space", str(run_dir[0]), "--out", str(tmp_path / "space"), "--model", "me/cats"]) == 0
    shown = capsys.readouterr().out
    assert f"start it, where gradio is installed, with: python {tmp_path}/space/app.py" in shown
    assert "title: cats\n" in (tmp_path / "space" / "README.md").read_text()


def test_a_dry_run_says_that_a_license_is_missing_or_unusual(run_dir, tmp_path, capsys):
    assert main(["push", str(run_dir[0]), "me/cats", "--dry-run", str(tmp_path / "a"), "--no-film"]) == 0
    assert "no license was chosen" in capsys.readouterr().err
    more = ["--license", "mitt"]
    assert main(["push", str(run_dir[0]), "me/cats", "--dry-run", str(tmp_path / "b"), "--no-film", *more]) == 0
    assert "nearest: mit" in capsys.readouterr().err
