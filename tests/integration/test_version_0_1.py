"""Files that version 0.1 (commit 36a0e54) has written are read: generators, a run, checkpoints, shards (tests/data)."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from distgan import load_generator, train
from distgan.cli.main import main
from distgan.training.checkpoint import storage

OLD = Path(__file__).parent.parent / "data" / "version_0_1"


@pytest.fixture
def run(tmp_path) -> Path:
    """The run that stopped at 120 images, with balance and ADA in the middle of their windows."""
    shutil.copytree(OLD / "half", tmp_path / "half")
    return tmp_path / "half"


def resume(run: Path, *overrides: str) -> int:
    place = [f"run.dir={run.parent}", f"run.name={run.name}", f"data.path={OLD / 'shapes'}"]
    return train.main(["--config", str(OLD / "half" / "config.yaml"), *place, "loss.penalty_at=augmented", *overrides])


@pytest.mark.parametrize("name", ["whole", "dcgan", "sngan", "r3gan"])
def test_a_generator_of_every_family_loads_and_draws_the_images_that_it_drew(name, tmp_path):
    assert main(["sample", str(OLD / f"{name}.safetensors"), "--seeds", "0-3", "--out", str(tmp_path / "new.npz")]) == 0
    old, new = (np.load(path) for path in (OLD / f"{name}.npz", tmp_path / "new.npz"))
    assert old.keys() == new.keys()
    for key in ("seeds", "labels"):
        np.testing.assert_array_equal(new[key], old[key])
    np.testing.assert_allclose(new["images"].astype(int), old["images"].astype(int), atol=1)  # another processor rounds


def test_a_run_goes_on_to_the_state_that_the_old_version_reached(run):
    assert resume(run, "train.images=240") == 0
    new, old = storage.load(run / "checkpoints" / "step-000000020"), storage.load(OLD / "whole-step-000000020")
    assert new.tensors.keys() == old.tensors.keys()
    for name, tensor in old.tensors.items():
        assert new.tensors[name].dtype == tensor.dtype
        torch.testing.assert_close(new.tensors[name], tensor, rtol=1e-2, atol=1e-3, msg=name)
    assert new.values.keys() >= old.values.keys()
    for name in ("balance_level", "window_steps", "augment_steps", "g", "d", "lr_scale", "data_digest", "processes"):
        assert new.values[name] == old.values[name], name
    assert new.values["best"]["without"] == old.values["best"]["without"]


def test_its_penalty_is_never_taken_elsewhere_in_silence(run, capsys):
    assert resume(run, "train.images=240", "loss.penalty_at=image") == 2
    assert (
        "made with another recipe: loss.penalty_at: augmented -> image; set these back, or " in capsys.readouterr().err
    )


def test_a_run_that_is_done_gets_what_its_end_lacks_and_then_says_so(run, capsys):
    """Its page and curves are not kept here."""
    assert resume(run) == 0
    assert "done: 120 images; see " in capsys.readouterr().err
    assert resume(run) == 0
    assert "nothing to do: train.images=120 are seen" in capsys.readouterr().err


def test_a_checkpoint_exports_the_generator_that_the_old_version_exported(run, tmp_path):
    out = tmp_path / "generator.safetensors"
    assert main(["export", str(run / "checkpoints" / "step-000000010"), "--out", str(out)]) == 0
    assert load_generator(out).weight_digest == load_generator(OLD / "half" / "generator.safetensors").weight_digest


def test_a_run_has_a_report(run, capsys):
    assert main(["report", str(run), "--data", str(OLD / "shapes")]) == 0
    page = (run / "report.html").read_text()
    assert "shapes_recognised" in page
    assert "<svg" in page


def test_scores_of_the_old_version_can_be_compared_with(run, capsys):
    arguments = [str(run), "--data", str(OLD / "shapes"), "--extractor", "none", "--count", "20"]
    assert main(["evaluate", *arguments]) == 0
    assert "shapes_recognised" in capsys.readouterr().out


def test_a_data_set_is_found_complete(capsys):
    assert main(["prepare", "shapes", "--out", str(OLD / "shapes"), "--verify", "--quiet"]) == 0
    assert "60 train images" in capsys.readouterr().out
