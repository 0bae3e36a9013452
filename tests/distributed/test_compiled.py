"""Compiled networks take the same steps as eager ones, with penalties and dropout in between, on one and two ranks."""

from __future__ import annotations

import shutil

import pytest
from test_same_answer import distance, play

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU"),
]
RECIPE = ["generator.depth=0", "discriminator.downsamples=2", "loss.r1_gamma=1", "loss.penalty_every_steps=2"]


@pytest.mark.parametrize(("mode", "processes"), [("on", 2), ("graphs", 1)])
def test_compiled_networks_learn_what_eager_ones_learn(mode, processes, tiny, tmp_path):
    eager = play(tmp_path / "eager", 1, tiny(*RECIPE), dtype="float32", steps=4)[0]
    compiled = play(tmp_path / mode, processes, tiny(*RECIPE, f"train.compile={mode}"), dtype="float32", steps=4)
    for state in compiled:
        assert 0 < distance(state, eager, roundings=1e-6) < 1e-3, "compiled (other roundings), and the same"
