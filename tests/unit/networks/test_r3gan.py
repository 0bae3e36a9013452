"""How R3GAN's stages change the size of their maps."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from distgan.networks.r3gan import Double, Halve

CHANNELS = 3


@pytest.fixture
def maps():
    return torch.randn(2, CHANNELS, 8, 8, dtype=torch.float64)


def test_binomial_resampling_is_the_convolution_with_the_published_filter(maps):
    """Both ways of R3GAN/Resamplers.py (github.com/brownvc/R3GAN): [1, 2, 1] convolved with [1, 1], zeros outside."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 8
    kernel = torch.outer(line, line).expand(CHANNELS, 1, 4, 4)
    how = {"stride": 2, "padding": 1, "groups": CHANNELS}
    torch.testing.assert_close(Halve("binomial")(maps), F.conv2d(maps, kernel, **how))
    torch.testing.assert_close(Double("binomial")(maps), F.conv_transpose2d(maps, 4 * kernel, **how))


def test_the_published_filter_darkens_what_touches_the_edge():
    doubled = Double("binomial")(torch.ones(1, 1, 4, 4))[0, 0]
    assert (doubled[0, 0], doubled[0, 3], doubled[3, 3]) == (0.5625, 0.75, 1)


def test_box_resampling_is_bilinear_to_the_edges_and_the_mean_of_four(maps):
    assert torch.equal(Halve("box")(maps), nn.AvgPool2d(2)(maps))
    bilinear = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    assert torch.equal(Double("box")(maps), bilinear(maps))


@pytest.mark.parametrize("resampling", ["binomial", "box"])
def test_it_can_be_differentiated_twice_as_a_penalty_needs(resampling):
    maps = torch.randn(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: Halve(resampling)(Double(resampling)(x)) ** 3, maps)
