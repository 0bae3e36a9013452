"""Nearest real images against brute force; copies are told."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from distgan.metrics.nearest_neighbors import likeness, neighbours


def images(count: int, seed: int, side: int = 6) -> Tensor:
    return torch.randint(
        0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def distance(one: Tensor, other: Tensor) -> float:
    return (one.double() - other.double()).square().mean().sqrt().item()


@pytest.mark.parametrize("block", [1, 7, 40, 100])
def test_neighbours_are_those_of_brute_force_whatever_the_blocks(block):
    fakes, reals = images(4, 1), images(40, 2)
    found = neighbours(fakes, reals.split(block), 5)
    for row, fake in enumerate(fakes):
        both = [(distance(fake, real), distance(fake, real.flip(2)), place) for place, real in enumerate(reals)]
        expected = sorted((min(straight, turned), turned < straight, place) for straight, turned, place in both)[:5]
        assert found.distance[row].tolist() == pytest.approx([item[0] for item in expected], rel=1e-12)
        assert found.mirrored[row].tolist() == [item[1] for item in expected]
        for image, (_, turned, place) in zip(found.images[row], expected, strict=True):
            assert torch.equal(image, reals[place].flip(2) if turned else reals[place])


def test_black_and_white_are_255_apart():
    found = neighbours(
        torch.zeros(1, 3, 4, 4, dtype=torch.uint8), [torch.full((1, 3, 4, 4), 255, dtype=torch.uint8)], 1
    )
    assert found.distance.item() == 255


def test_of_fewer_real_images_than_asked_for_all_are_named():
    assert neighbours(images(2, 1), [images(3, 2)], 5).distance.shape == (2, 3)


def test_of_equal_images_the_first_is_named_first():
    real = images(1, 3)
    found = neighbours(real, [real.flip(3), real], 2)
    assert found.distance.tolist() == [[0, 0]]
    assert found.mirrored.tolist() == [[True, False]]


def test_a_copy_is_at_distance_0_and_told_mirrored_or_not_even_of_a_large_image():
    reals = images(30, 4, side=128)
    fakes = torch.stack([reals[7], reals[9].flip(2), images(1, 5, side=128)[0]])
    found = likeness(fakes, reals, total=30)
    assert found.nearest.distance[:2, 0].tolist() == [0, 0]
    assert found.nearest.mirrored[:2, 0].tolist() == [False, True]
    assert found.copied == [True, True, False]


def test_a_copy_with_a_little_noise_is_told():
    reals = images(30, 4)
    noisy = (reals[:1].int() + torch.randint(-9, 10, reals[:1].shape)).clamp(0, 255).to(torch.uint8)
    assert likeness(noisy, reals, 30).copied == [True]


def test_the_usual_distance_is_the_median_over_real_images_without_themselves():
    reals = torch.stack([torch.full((3, 4, 4), value, dtype=torch.uint8) for value in (0, 10, 30, 70, 150)])
    found = likeness(images(1, 0, side=4), reals, 5)
    assert found.usual_distance == 20  # the nearest others are 10, 10, 20, 40, 80 away
    assert found.compared == 5


def test_images_that_are_as_far_as_real_ones_are_from_one_another_are_not_copies():
    everything = images(60, 6)
    assert not any(likeness(everything[:10], everything[10:], 50).copied)


def test_two_thirds_of_a_step_are_measured_as_such():
    one = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    other = one.clone()
    other[0, 0, 0] = 3  # two of twelve values
    assert neighbours(one, [other], 1).distance.item() == pytest.approx(math.sqrt(9 * 2 / 12))
