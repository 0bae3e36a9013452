"""Gradients sent in bf16: all ranks hold the same bits, and the golden losses move by little."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.support.workers import training

TESTS = Path(__file__).resolve().parent.parent
GOLDEN = json.loads((TESTS / "golden" / "quickstart.json").read_text())["float64"]
LOSSES = ("loss/d", "loss/g")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def played(shapes, tmp_path_factory):
    """The golden steps of the quickstart on two ranks, without and with compression: what each rank ended with.

    In float64: float32's own roundings, amplified by ten steps, would be of the size of what is measured.
    """
    out, ranks = tmp_path_factory.mktemp("played"), {}
    for how in ("none", "bf16"):
        keys = [f"data.path={shapes}", "train.cpu_threads=1", f"train.gradient_compression={how}"]
        ranks[how] = training.play(out / how, 2, keys, len(GOLDEN))
    return ranks


@pytest.mark.parametrize(("how", "tolerance"), [("none", 1e-9), ("bf16", 1e-2)])
def test_the_golden_losses_of_two_ranks_move_by_so_much_at_most(played, how, tolerance):
    for name in LOSSES:
        golden = sum(step[name] for step in GOLDEN) / len(GOLDEN)
        assert played[how][0]["metrics"][name] == pytest.approx(golden, rel=tolerance), name


def test_what_is_sent_is_rounded(played):
    lossy, exact = (played[how][0]["tensors"]["g/dense.weight"] for how in ("bf16", "none"))
    assert not torch.equal(lossy, exact)


@pytest.mark.parametrize("how", ["none", "bf16"])
def test_all_ranks_hold_the_same_bits(played, how):
    first, second = (rank["tensors"] for rank in played[how])
    for name in first.keys() - {"window"}:  # each rank's own sums
        assert torch.equal(first[name], second[name]), name


def test_the_size_of_buckets_changes_no_bit_of_two_ranks_game(shapes, played, tmp_path):
    keys = [f"data.path={shapes}", "train.cpu_threads=1", "train.bucket_mb=0.1"]
    for cut, whole in zip(training.play(tmp_path / "out", 2, keys, len(GOLDEN)), played["none"], strict=True):
        assert len(cut["buckets"].split(",")) > len(whole["buckets"].split(","))
        for name in cut["tensors"].keys() - {"window"}:
            assert torch.equal(cut["tensors"][name], whole["tensors"][name]), name


def test_buffers_that_no_rank_sends_are_the_same_on_all(shapes, tmp_path):
    """Spectral normalisation in D, batch normalisation in G."""
    keys = ["generator={family: sngan, width: 8}", "discriminator={family: sngan, width: 8}", "train.batch_size=8"]
    keys += [f"data.path={shapes}", "train.cpu_threads=1", "loss={name: hinge}", "train.share_fakes=false"]
    first, second = (rank["tensors"] for rank in training.play(tmp_path / "out", 2, keys, 5, "float32"))
    buffers = [name for name in first if name.endswith(("running_var", "weight.0.u"))]
    assert {name.split("/")[0] for name in buffers} >= {"g", "d"}
    for name in buffers:
        assert torch.equal(first[name], second[name]), name
