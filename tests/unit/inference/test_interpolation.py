"""Points and images between two seeds."""

from __future__ import annotations

import math

import pytest
import torch

from distgan.inference.generator import load_generator
from distgan.inference.interpolation import rows_between
from distgan.inference.latents import slerp
from tests.unit.inference.test_sampling import export


def test_the_way_between_two_directions_is_an_arc_of_equal_angles():
    points = slerp(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0]), 4)
    angles = [math.atan2(y, x) for x, y in points.tolist()]
    torch.testing.assert_close(torch.tensor(angles), torch.linspace(0, math.pi / 2, 4))
    torch.testing.assert_close(points.norm(dim=1), torch.full((4,), 2.0))


def test_the_length_changes_evenly_and_one_direction_is_no_arc():
    points = slerp(torch.tensor([1.0, 0.0]), torch.tensor([3.0, 0.0]), 3)
    torch.testing.assert_close(points, torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]))


@pytest.mark.parametrize("conditional", [False, True])
def test_the_ends_of_an_interpolation_are_the_images_of_the_seeds_in_one_class(tmp_path, conditional):
    export(tmp_path / "g.safetensors", conditional)
    generator = load_generator(tmp_path / "g.safetensors")
    strip = rows_between(generator, [(3, 5)], 6)
    assert strip.shape[0] == 6
    ends = generator.sample([3, 5], [3 % len(generator.class_names)] * 2 if conditional else None)
    assert (strip[[0, -1]].int() - ends.int()).abs().max() <= 1
    assert not torch.equal(strip[0], strip[3])
