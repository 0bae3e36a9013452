"""Classes as often as a data set has them: in draws, and by number."""

import pytest
import torch

from distgan.utils.rng import Draws, Rows
from distgan.utils.shares import ClassDraws, spread

COUNTS = (900, 0, 100)
CPU = torch.device("cpu")


def draws(rows=20_000):
    return Draws(3, Rows(0, rows, rows), CPU).at("class/g", 5)


def test_a_class_is_drawn_as_often_as_it_has_images_and_one_without_images_never():
    drawn = ClassDraws(COUNTS, CPU)(draws()).bincount(minlength=3)
    assert drawn[1] == 0
    assert drawn[2].item() / 20_000 == pytest.approx(0.1, abs=0.01)  # five standard deviations


def test_equally_many_images_give_the_draws_of_uniform_classes():
    assert torch.equal(ClassDraws((7, 7, 7), CPU)(draws()), draws().integers(3))


@pytest.mark.parametrize("counts", [COUNTS, (1, 2, 3, 4), (5_000, 1)])
@pytest.mark.parametrize("numbers", [100, 5_000])
def test_numbers_have_the_shares_of_the_classes_to_within_two_of_them(counts, numbers):
    found = spread(numbers, counts).bincount(minlength=len(counts))
    exact = torch.tensor(counts) * numbers / sum(counts)
    assert (found - exact).abs().max() <= 2


def test_a_number_s_class_does_not_depend_on_how_many_there_are():
    assert torch.equal(spread(5_000, COUNTS)[:300], spread(300, COUNTS))
