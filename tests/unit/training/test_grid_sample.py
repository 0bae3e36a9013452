"""distgan.training.grid_sample beside torch's own."""

import pytest
import torch
from torch.nn import functional as F

from distgan.training.grid_sample import grid_sample


@pytest.fixture
def images():
    return torch.randn(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)


@pytest.fixture
def grid():
    return 2 * torch.randn(2, 4, 7, 2, dtype=torch.float64)  # also far outside


def test_it_resamples_as_torch_does_and_so_do_its_derivatives(images, grid):
    expected = F.grid_sample(images, grid, "bilinear", "reflection", align_corners=False)
    found = grid_sample(images, grid)
    assert torch.equal(found, expected)
    weights = torch.randn_like(found)
    slopes = (torch.autograd.grad((weights * seen).sum(), images)[0] for seen in (found, expected))
    assert torch.equal(*slopes)


def test_it_can_be_differentiated_twice(images, grid):
    assert torch.autograd.gradcheck(lambda x: grid_sample(x, grid), images)
    assert torch.autograd.gradgradcheck(lambda x: grid_sample(x, grid) ** 3, images)
