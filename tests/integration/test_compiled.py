"""Compiled networks take the same steps as eager ones, with penalties and dropout in between, on one and two ranks."""

from __future__ import annotations

import pytest

from tests.integration.test_same_answer import distance, play

pytestmark = [
    pytest.mark.slow,
    pytest.mark.needs("compiler"),
]
RECIPE = ["generator.depth=0", "discriminator.downsamples=2", "loss.r1_gamma=1", "loss.penalty_every_steps=2"]


def test_compiled_networks_learn_what_eager_ones_learn(tiny, tmp_path):
    eager = play(tmp_path / "eager", 1, tiny(*RECIPE), dtype="float32", steps=4)[0]
    for state in play(tmp_path / "compiled", 2, tiny(*RECIPE, "train.compile=on"), dtype="float32", steps=4):
        assert 0 < distance(state, eager, roundings=1e-6) < 1e-3, "compiled (other roundings), and the same"
