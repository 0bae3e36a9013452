"""Compiled networks take the same steps as eager ones, with penalties and dropout in between, on one and two ranks."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from distgan.training.execution import compile_network
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


class Featured(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 1)

    def features(self, images):
        return [self.conv(images).relu()]

    def judge(self, maps, labels):
        return self.head(maps[0].mean((2, 3)))[:, 0]

    def forward(self, images, labels=None):
        return self.judge(self.features(images), labels)


def test_features_and_their_logits_are_compiled_also_where_they_are_called_by_themselves():
    network, images = Featured(), torch.randn(5, 3, 8, 8)
    compiled = copy.deepcopy(network)
    compile_network(compiled, "on")
    counters.clear()
    maps = compiled.features(images)
    assert counters["stats"]["unique_graphs"] == 1
    logits = compiled.judge(maps, None)
    assert counters["stats"]["unique_graphs"] == 2
    torch.testing.assert_close(maps, network.features(images))
    torch.testing.assert_close(logits, network(images))
    torch.testing.assert_close(compiled(images), network(images))
    assert counters["stats"]["unique_graphs"] == 3
