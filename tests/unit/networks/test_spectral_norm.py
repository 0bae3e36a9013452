"""Spectral normalisation whose forward is pure: against the singular values themselves and torch's own."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from distgan.networks import spectral_norm
from distgan.networks.spectral_norm import FIRST_ITERATIONS, SpectralNorm


def _network(seed=0):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 4, 5)).double()
    spectral_norm.normalise(network)
    return network


def _norm(layer):
    return layer.parametrizations.weight[0]


def _original(layer):
    return layer.parametrizations.weight.original


@pytest.mark.parametrize("layer", [0, 3])
def test_after_many_iterations_the_largest_singular_value_is_one(layer):
    network = _network()
    for _ in range(2000):
        spectral_norm.power_iteration(spectral_norm.spectral_norms_of(network))
    assert torch.linalg.svdvals(network[layer].weight.flatten(1))[0].item() == pytest.approx(1, rel=1e-12)
    largest = torch.linalg.svdvals(_original(network[layer]).flatten(1))[0]
    torch.testing.assert_close(network[layer].weight * largest, _original(network[layer]))


def test_at_the_start_sigma_is_near_the_truth():
    torch.manual_seed(0)
    weight = torch.randn(6, 9, dtype=torch.float64)
    left, _, right = torch.linalg.svd(weight, full_matrices=False)
    weight = left @ torch.diag(3 * 0.5 ** torch.arange(6.0).double()) @ right  # singular values 3, 1.5, 0.75, ...
    sigma = weight / SpectralNorm(weight)(weight)
    # the share of the other directions in v falls to a quarter each iteration, the error with its square
    assert 0.25 ** (2 * FIRST_ITERATIONS) < 1e-17
    torch.testing.assert_close(sigma, torch.full_like(sigma, 3), rtol=1e-12, atol=0)


def test_after_equally_many_iterations_it_is_torchs_own_spectral_norm():
    torch.manual_seed(0)
    ours, theirs = (layer := nn.Conv2d(3, 6, 3).double()), copy.deepcopy(layer)
    parametrizations.spectral_norm(theirs, n_power_iterations=1)
    spectral_norm.normalise(wrapped := nn.Sequential(ours))
    _norm(ours).load_state_dict({"u": _norm(theirs)._u, "v": _norm(theirs)._v})
    for _ in range(4):
        spectral_norm.power_iteration(spectral_norm.spectral_norms_of(wrapped))
        torch.testing.assert_close(ours.weight, theirs.train().weight)  # theirs iterates when it is asked


def test_the_gradient_is_that_of_the_weight_over_u_w_v_with_u_and_v_constant():
    torch.manual_seed(0)
    layer = nn.Linear(4, 3).double()
    spectral_norm.normalise(nn.Sequential(layer))
    direction, w = torch.randn(3, 4, dtype=torch.float64), _original(layer)
    (gradient,) = torch.autograd.grad((layer.weight * direction).sum(), w)
    u, v = _norm(layer).u, _norm(layer).v
    sigma = u @ w @ v
    expected = direction / sigma - (direction * w).sum() / sigma**2 * torch.outer(u, v)
    torch.testing.assert_close(gradient, expected)


def test_forward_changes_nothing():
    network, images = _network(), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first = network.train()(images)
    assert torch.equal(network(images), first)
    assert torch.equal(network.eval()(images), first)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_improving_after_a_forward_does_not_disturb_its_backward():
    network, images = _network(), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    expected = torch.autograd.grad(network(images).sum(), _original(network[0]))
    out = network(images).sum()
    spectral_norm.power_iteration(spectral_norm.spectral_norms_of(network))
    torch.testing.assert_close(torch.autograd.grad(out, _original(network[0])), expected)


def test_improving_moves_only_u_and_v():
    network = _network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    spectral_norm.power_iteration(spectral_norm.spectral_norms_of(network))
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {f"{layer}.parametrizations.weight.0.{name}" for layer in (0, 3) for name in "uv"}


def test_a_copy_is_independent_and_a_state_dict_brings_everything_back():
    network, images = _network(), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    twin, other = copy.deepcopy(network), _network(seed=1)
    expected = network(images)
    assert torch.equal(twin(images), expected)
    assert not torch.equal(other(images), expected)
    other.load_state_dict(network.state_dict())
    with torch.no_grad():
        _original(network[0]).mul_(torch.rand(6, 3, 3, 3))
    spectral_norm.power_iteration(spectral_norm.spectral_norms_of(network))
    assert torch.equal(other(images), expected)
    assert torch.equal(twin(images), expected)


def test_under_autocast_sigma_is_found_in_float32():
    torch.manual_seed(0)
    layer = nn.Linear(300, 200)
    spectral_norm.normalise(nn.Sequential(layer))
    expected = layer.weight
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.weight, expected)


def test_embeddings_are_normalised_and_what_is_no_weight_is_not():
    network = nn.Sequential(nn.Embedding(3, 4), nn.ConvTranspose2d(2, 2, 1))
    spectral_norm.normalise(network)
    assert isinstance(_norm(network[0]), SpectralNorm)
    assert not hasattr(network[1], "parametrizations")


def test_the_first_vectors_come_from_torchs_seed_and_fifteen_iterations():
    weight = torch.randn(3, 4)
    torch.manual_seed(5)
    norm = SpectralNorm(weight)
    torch.manual_seed(5)
    v = torch.randn(4)
    for _ in range(FIRST_ITERATIONS):
        u = nn.functional.normalize(weight @ v, dim=0)
        v = nn.functional.normalize(weight.T @ u, dim=0)
    torch.testing.assert_close(norm.u, u)
    torch.testing.assert_close(norm.v, v)
