"""The run directory: its identity, and what stands in its way."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest

from distgan.training import run_dir
from distgan.training.checkpoint.resume import Saved
from distgan.training.checkpoint.storage import State
from distgan.training.run_dir import keep_directory, locked, run_id_of
from distgan.utils.errors import ConfigError, LaunchError


@pytest.fixture(autouse=True)
def _no_run_id(monkeypatch):
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)


@pytest.fixture
def original(tmp_path):
    """A run directory that a training has written."""
    directory = tmp_path / "original"
    directory.mkdir()
    (directory / "run.json").write_text(json.dumps({"wandb_id": "abcd1234", "directory": str(directory)}))
    return directory


def test_a_copied_run_directory_gets_a_wandb_id_of_its_own_and_says_so(original, tmp_path, capsys):
    copy = shutil.copytree(original, tmp_path / "copy")
    own = run_id_of(copy, None)
    assert own not in ("", "abcd1234")
    assert (
        f"{copy} is a copy of {original}, which is still there: it gets a W&B run of its own" in capsys.readouterr().err
    )
    (copy / "run.json").write_text(json.dumps({"wandb_id": own, "directory": str(copy)}))  # as its first start does
    assert (run_id_of(copy, None), run_id_of(original, None)) == (own, "abcd1234")
    assert capsys.readouterr().err == ""


def test_a_moved_run_directory_and_one_with_two_names_keep_their_id(original, tmp_path):
    other_name = tmp_path / "link"
    other_name.symlink_to(original)
    assert run_id_of(other_name, None) == "abcd1234"
    moved = original.rename(tmp_path / "moved")
    assert run_id_of(moved, None) == "abcd1234"
    original.mkdir()
    (original / "run.json").write_text('{"wandb_id": "another1"}')  # a new run in the old place
    assert run_id_of(moved, None) == "abcd1234"


def test_a_copy_of_a_run_of_an_older_version_is_known_by_the_place_in_its_checkpoint(original, tmp_path):
    (original / "run.json").write_text('{"wandb_id": "abcd1234"}')
    copy = shutil.copytree(original, tmp_path / "copy")
    values = {"run_id": "abcd1234", "config": {"run": {"dir": str(tmp_path), "name": "original"}}}
    for directory, is_copy in ((original, False), (copy, True)):
        saved = Saved(directory / "checkpoints" / "step-000000002", State({}, values), [])
        assert (run_id_of(directory, saved) != "abcd1234") == is_copy


def test_wandb_run_id_names_a_new_run_and_leaves_an_old_one_its_own(original, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_RUN_ID", "of-shell")
    assert run_id_of(tmp_path / "new", None) == "of-shell"
    assert run_id_of(original, None) == "abcd1234"
    assert f"WANDB_RUN_ID=of-shell has no effect: {original} goes on under its own W&B id" in capsys.readouterr().err


def test_a_run_name_that_no_file_system_takes_is_blamed_for_it(tmp_path):
    with (
        pytest.raises(LaunchError, match=r"File name too long; set a shorter run\.name or run\.dir$"),
        locked(tmp_path / ("n" * 300)),
    ):
        pass


@pytest.mark.parametrize("kind", ["file", "link"])
def test_something_else_in_the_place_of_a_run_directory_is_named_as_that(tmp_path, kind):
    place = tmp_path / "run"
    place.write_text("mine") if kind == "file" else place.symlink_to(tmp_path / "nowhere")
    with (
        pytest.raises(LaunchError, match="a file, or a link that leads nowhere, is there or above it; "),
        locked(place),
    ):
        pass
    assert kind == "link" or place.read_text() == "mine"


def test_a_removed_run_directory_that_cannot_be_made_again_is_told_once_and_tried_until_it_can(tmp_path, monkeypatch):
    run, written = tmp_path / "run", []
    with locked(run) as lock:
        assert keep_directory(lock, lambda: written.append(1)) == ""
        shutil.rmtree(run)
        run.symlink_to(tmp_path / "full")

        def full(_run_dir):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(run_dir, "_take", full)
            said = keep_directory(lock, lambda: written.append(1))
            assert "cannot be made again (No space left on device); training tries on" in said
            assert keep_directory(lock, lambda: written.append(1)) == ""
        run.unlink()
        assert not written
        assert "it is written again from here on" in keep_directory(lock, lambda: written.append(1))
        assert (keep_directory(lock, lambda: written.append(1)), written) == ("", [1])


def test_a_network_disk_that_fails_for_a_moment_is_not_a_removed_run_directory(tmp_path, monkeypatch):
    def stale(*_):
        raise OSError(errno.ESTALE, "Stale file handle")

    with locked(tmp_path / "run") as lock:
        monkeypatch.setattr(Path, "stat", stale)
        assert not lock.is_lost()


def test_a_start_that_is_refused_leaves_no_empty_run_and_takes_nothing_of_one_that_is_there(tmp_path):
    for name, file in (("new", None), ("old", "metrics.jsonl")):
        if file:
            (tmp_path / name).mkdir()
            (tmp_path / name / file).touch()
        with pytest.raises(ConfigError), locked(tmp_path / name):
            raise ConfigError("WANDB_MODE=onlin must be one of ...")
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "old" / "metrics.jsonl").exists()
