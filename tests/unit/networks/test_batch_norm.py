"""Batch normalisation over the global batch, in one process: against torch's own. Ranks: distributed/."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from distgan.networks.batch_norm import ConditionalBatchNorm, GlobalBatchNorm, batch_norm, joined


def _numbers(*shape, dtype=torch.float64, seed=0):
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) + 1


@pytest.fixture
def layer():
    layer = GlobalBatchNorm(5).double()
    with torch.no_grad():
        layer.weight.copy_(_numbers(5, seed=1))
        layer.bias.copy_(_numbers(5, seed=2))
    return layer


def test_values_and_all_gradients_are_those_of_torchs_batch_norm(layer):
    x = _numbers(4, 5, 3, 2).requires_grad_()
    direction = _numbers(4, 5, 3, 2, seed=3)
    leaves = (x, layer.weight, layer.bias)
    ours, theirs = layer(x), F.batch_norm(x, None, None, layer.weight, layer.bias, training=True)
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad((out * direction).sum(), leaves) for out in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_second_gradients_are_those_of_torchs_batch_norm(layer):
    x, direction = _numbers(4, 5, 3, 2).requires_grad_(), _numbers(4, 5, 3, 2, seed=3)
    seconds = []
    for norm in (layer, lambda x: F.batch_norm(x, None, None, layer.weight, layer.bias, training=True)):
        (first,) = torch.autograd.grad((norm(x) * direction).sum(), x, create_graph=True)
        seconds.append(torch.autograd.grad(first.square().sum(), (x, layer.weight)))
    torch.testing.assert_close(*seconds)
    assert torch.autograd.gradgradcheck(layer, (x,))


def test_running_statistics_move_as_torchs_do_and_are_what_eval_mode_uses(layer):
    theirs = nn.BatchNorm2d(5).double()
    theirs.load_state_dict(layer.state_dict(), strict=False)
    for turn in range(3):
        x = _numbers(2, 5, 3, 3, seed=turn)
        layer(x), theirs(x)
    x = _numbers(2, 5, 3, 3, seed=9)
    layer.eval(), theirs.eval()
    torch.testing.assert_close(layer(x), theirs(x))
    assert layer.state_dict().keys() == theirs.state_dict().keys() - {"num_batches_tracked"}
    for name, value in layer.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name])


def test_eval_mode_changes_nothing(layer):
    layer.eval()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    layer(_numbers(2, 5, 3, 3))
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_a_class_has_its_own_weight_and_bias():
    layer, labels, x = ConditionalBatchNorm(5, 3).double(), torch.tensor([2, 0, 2, 1]), _numbers(4, 5, 3, 2)
    plain = F.batch_norm(x, None, None, training=True)
    torch.testing.assert_close(layer(x, labels), plain)
    with torch.no_grad():
        layer.weight[2], layer.bias[2] = 3, 7
    expected = plain.clone()
    expected[[0, 2]] = 3 * plain[[0, 2]] + 7
    torch.testing.assert_close(layer(x, labels), expected)


def test_batch_norm_is_by_class_only_where_there_are_classes():
    assert type(batch_norm(5, 0)) is GlobalBatchNorm
    assert type(batch_norm(5, 3)) is ConditionalBatchNorm
    assert batch_norm(5, 3).weight.shape == (3, 5)


def test_labels_are_not_used_without_classes(layer):
    x = _numbers(4, 5, 3, 2)
    assert torch.equal(layer(x, torch.tensor([0, 1, 0, 1])), layer(x))


def test_half_precision_images_are_measured_in_float32_and_stay_half():
    x = (_numbers(64, 5, 16, 16, dtype=torch.float32) + 100).bfloat16()
    layer = GlobalBatchNorm(5)
    ours = layer(x)
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(layer.running_mean, 0.1 * x.float().mean((0, 2, 3)))
    assert torch.equal(ours, F.batch_norm(x.float(), None, None, training=True).bfloat16())


def test_under_autocast_the_layer_takes_and_gives_half_precision():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), GlobalBatchNorm(4))
    with torch.autocast("cpu", torch.bfloat16):
        assert network(torch.randn(2, 3, 4, 4)).dtype == torch.bfloat16


def test_a_large_mean_does_not_drown_the_variance():
    x = torch.randn(8, 2, 8, 8, generator=torch.Generator().manual_seed(0)) + 10_000
    exact = F.batch_norm(x.double(), None, None, training=True)
    step = 2**-10  # between two float32 numbers at 10,000; the deviation is 1
    assert (GlobalBatchNorm(2)(x) - exact).abs().max() < step


@pytest.mark.parametrize("training", [True, False])
def test_the_memory_format_is_kept(layer, training):
    x = _numbers(4, 5, 3, 2).contiguous(memory_format=torch.channels_last)
    assert layer.train(training)(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("classes", [0, 3])
def test_joined_parts_are_normalised_as_if_each_were_alone(classes):
    layer, x, labels = batch_norm(5, classes).double(), _numbers(6, 5, 3, 2), torch.arange(6) % 3
    with torch.no_grad():
        layer.weight.copy_(_numbers(*layer.weight.shape, seed=1))
    with joined([layer], 2):
        together = layer(x, labels)
    alone = torch.cat([layer(x[:3], labels[:3]), layer(x[3:], labels[3:])])
    torch.testing.assert_close(together, alone)
    assert not torch.allclose(together, layer(x, labels))


@pytest.mark.parametrize("labelled", [False, True])
def test_an_overflow_in_fp16_does_not_reach_the_running_statistics(labelled):
    layer, x = batch_norm(2, 3 if labelled else 0), torch.ones(4, 2, 2, 2, dtype=torch.float16)
    x[0, 0, 0, 0] = torch.inf
    layer(x, torch.arange(4) % 3)
    assert (layer.running_mean[0], layer.running_var[0]) == (0, 1), "the channel that overflowed"
    assert layer.running_mean[1] == pytest.approx(0.1)
