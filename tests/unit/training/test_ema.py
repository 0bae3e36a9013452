"""The averaged generator: a half-life in images."""

import pytest
import torch
from torch import nn

from distgan.config.method import EmaConfig
from distgan.training.checkpoint.state import capture, restore
from distgan.training.ema import Ema, ema_decay
from tests.unit.training.test_trainer import build, reals_of


def _config(half_life, ratio=None):
    return EmaConfig(half_life_images=half_life, rampup_ratio=ratio)


def test_after_a_half_life_half_of_the_old_average_is_left():
    assert ema_decay(_config(1000), 1000, 10**9) == 0.5
    assert ema_decay(_config(1000), 2000, 10**9) == 0.25


@pytest.mark.parametrize("batch", [1, 2, 8, 32, 64])
def test_what_is_left_does_not_depend_on_the_batch_size(batch):
    steps = 128 // batch
    assert ema_decay(_config(500), batch, 10**9) ** steps == pytest.approx(0.5 ** (128 / 500), rel=1e-12)


def test_two_steps_of_32_are_one_of_64():
    assert ema_decay(_config(777), 32, 10**9) ** 2 == pytest.approx(ema_decay(_config(777), 64, 10**9), rel=1e-14)


def test_the_ramp_bounds_the_half_life_by_a_share_of_the_images_seen():
    config = _config(1000, 0.05)
    assert ema_decay(config, 64, 64) == pytest.approx(0.5**20, rel=1e-12)  # 64 / (0.05 * 64): the start is forgotten
    assert ema_decay(config, 64, 10_000) == pytest.approx(0.5 ** (64 / 500), rel=1e-12)
    assert ema_decay(config, 64, 20_000) == ema_decay(config, 64, 10**9) == ema_decay(_config(1000), 64, 1)


def test_an_update_is_the_weighted_mean():
    network = nn.Linear(3, 2, dtype=torch.float64)
    ema = Ema(network)
    old = [weight.clone() for weight in ema.network.parameters()]
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_()
    ema.update(0.9)
    for before, now, new in zip(old, ema.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(now, 0.9 * before + 0.1 * new, rtol=0, atol=1e-15)


def test_updates_towards_a_constant_decay_geometrically():
    network = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.zeros_(network.weight)
    ema = Ema(network)
    nn.init.ones_(network.weight)
    for _ in range(10):
        ema.update(ema_decay(_config(160), 32, 10**9))
    assert 1 - ema.network.weight.item() == pytest.approx(0.25, rel=1e-12)  # 320 images are two half-lives


def test_decay_zero_copies_and_decay_one_keeps():
    network = nn.Linear(4, 4)
    before, ema = network.weight.detach().clone(), Ema(network)
    nn.init.ones_(network.weight)
    ema.update(1.0)
    assert torch.equal(ema.network.weight, before)
    ema.update(0.0)
    assert torch.equal(ema.network.weight, network.weight)


def test_buffers_are_copied_as_they_are():
    network = nn.BatchNorm1d(3)
    ema = Ema(network)
    network(torch.randn(8, 3) + 5)
    ema.update(0.99)
    assert torch.equal(ema.network.running_mean, network.running_mean)
    assert ema.network.num_batches_tracked == 1


@pytest.mark.parametrize("family", ["dcgan", "sngan"])
def test_a_training_that_goes_on_from_a_checkpoint_has_the_statistics_of_one_that_was_not_stopped(family, tiny_config):
    widths = [f"generator={{family: {family}, width: 8}}", f"discriminator={{family: {family}, width: 8}}"]
    config = tiny_config(*widths)
    whole, batches = build(config), reals_of(config).batches(0)
    for step in range(4):
        whole.step(batches)
        if step == 1:
            middle = capture(whole)
    resumed = build(config)
    restore(resumed, middle)
    batches = reals_of(config).batches(2)
    for _ in range(2):
        resumed.step(batches)
    ours, theirs = resumed.ema.network.state_dict(), whole.ema.network.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_buffers_that_others_have_replaced_are_followed_and_weights_are_never_replaced():
    """Moved to a device, as accelerate does, a module keeps its parameters, but not its buffers."""
    network = nn.BatchNorm1d(3)
    ema, weight, mean = Ema(network), network.weight, network.running_mean
    network._apply(torch.clone)
    assert network.weight is weight
    assert network.running_mean is not mean
    network(torch.randn(8, 3) + 5)
    nn.init.constant_(network.weight, 3.0)
    ema.update(0.0)
    assert torch.equal(ema.network.running_mean, network.running_mean)
    assert torch.equal(ema.network.weight, network.weight)


def test_the_average_is_a_copy_in_eval_mode_without_gradients():
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).train()
    ema = Ema(network)
    assert not any(module.training for module in ema.network.modules())
    assert not any(weight.requires_grad for weight in ema.network.parameters())
    with torch.no_grad():
        network[0].weight.add_(1)
    assert not torch.equal(ema.network[0].weight, network[0].weight)
    assert network.training
    assert all(weight.requires_grad for weight in network.parameters())
