"""The example of fine-tuning: new shapes, drawn as the embedded ones are, and its table."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.quality import finetune
from distgan.data.shards.manifest import load_manifest
from distgan.data.sources.shapes import CLASSES, render
from distgan.metrics.protocol import save_scores
from distgan.metrics.shapes_coverage import recognise
from tests.unit.training.test_early_stopping import PROTOCOL, scores


def drawn(purpose="train", count=60):
    return render(finetune.scenes(purpose, count), list(finetune.OUTLINES.values()))


def test_the_new_shapes_are_none_of_the_embedded_ones():
    assert not set(finetune.OUTLINES) & set(CLASSES)
    fits = recognise(torch.from_numpy(drawn()).permute(0, 3, 1, 2)).fit
    assert np.mean(fits >= 0.93) < 0.2, "few are taken for one of the ten"


def test_the_classes_are_in_turn():
    assert finetune.scenes("train", 9).label.tolist() == [0, 1, 2] * 3


def test_the_images_to_compare_with_are_others():
    train, held_out = ({image.tobytes() for image in drawn(purpose)} for purpose in ("train", "test"))
    assert len(train) == len(held_out) == 60
    assert not train & held_out


def test_they_are_prepared_once(tmp_path, monkeypatch):
    monkeypatch.setattr(finetune, "IMAGES", 9)
    monkeypatch.setattr(finetune, "HELD_OUT", 6)
    finetune.prepare(tmp_path)
    manifest = load_manifest(tmp_path / "data")
    assert (manifest.classes, manifest.count) == (tuple(finetune.OUTLINES), 9)
    assert load_manifest(tmp_path / "held-out").count == 6
    monkeypatch.setattr(finetune, "distgan", None)
    finetune.prepare(tmp_path)


def test_the_table_has_the_mean_and_the_range_of_the_seeds_for_each_beginning(tmp_path):
    for beginning, best in (("fine-tuned", 10.0), ("anew", 20.0)):
        for seed in (0, 1):
            run = tmp_path / f"{beginning}-{seed}"
            run.mkdir()
            values = {f"{value}_efficientnet_lite0": best + seed for value in finetune.VALUES}
            save_scores(run / "scores.json", scores(100, PROTOCOL, **values))
    lines = finetune.table(tmp_path, [0, 1]).splitlines()
    assert lines[0].startswith("| beginning | `fd_efficientnet_lite0` | `kd_efficientnet_lite0` |")
    assert lines[2].startswith("| fine-tuned | 10.5 (10 ... 11) | ")
    assert lines[3].startswith("| anew | 20.5 (20 ... 21) | ")


@pytest.mark.parametrize("name", finetune.OUTLINES)
def test_an_outline_is_closed_and_within_a_circle_of_radius_1(name):
    grid = np.linspace(-1.5, 1.5, 61)
    u, v = np.meshgrid(grid, grid)
    inside = finetune.OUTLINES[name](u, v) < 0
    assert 0.2 < inside.mean() * 9 < 2.5
    assert not inside[np.hypot(u, v) > 1.05].any()
