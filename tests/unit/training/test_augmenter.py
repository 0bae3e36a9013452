"""Which augmentation D sees, and ADA's controller."""

import torch

from distgan.config.method import Ada, DiffAugment, NoAugment
from distgan.training.augment import ADA_NORMALS, ADA_UNIFORMS, Augmenter, ada_augment, diff_augment
from distgan.utils.rng import Draws, Rows

CPU = torch.device("cpu")
IMAGES = torch.rand(4, 3, 16, 16) * 2 - 1


def _draws(start=0, stop=4, purpose="augment/fake"):
    return Draws(5, Rows(start, stop, 4), CPU).at(purpose, 7)


def test_without_augmentation_d_sees_the_images_as_they_are():
    assert Augmenter(NoAugment(), CPU)(IMAGES, _draws()) is IMAGES


def test_diffaugment_is_the_function_of_its_name_with_the_images_own_numbers():
    shown = Augmenter(DiffAugment(policy=("color", "cutout")), CPU)(IMAGES, _draws())
    assert torch.equal(shown, diff_augment(IMAGES, _draws().uniform([7]), ("color", "cutout")))
    assert not torch.equal(shown, IMAGES)


def test_a_image_is_augmented_alike_whatever_stands_beside_it():
    augment = Augmenter(Ada(p=0.8, target=None), CPU)
    whole = augment(IMAGES, _draws())
    halves = [
        augment(IMAGES[rows.start : rows.stop], _draws(rows.start, rows.stop))
        for rows in (Rows(0, 2, 4), Rows(2, 4, 4))
    ]
    torch.testing.assert_close(torch.cat(halves), whole)


def test_fakes_and_reals_of_one_batch_have_their_own_numbers():
    augment = Augmenter(DiffAugment(), CPU)
    both = augment(torch.cat([IMAGES, IMAGES]), _draws(), _draws(purpose="augment/real"))
    assert torch.equal(both[:4], augment(IMAGES, _draws()))
    assert not torch.equal(both[:4], both[4:])


def test_ada_with_its_own_p_is_the_function_of_its_name():
    augment = Augmenter(Ada(p=0.5, target=None), CPU)
    normal = Draws(5, Rows(0, 4, 4), CPU).at("augment/fake/normal", 7).normal([ADA_NORMALS])
    expected = ada_augment(
        IMAGES, _draws().uniform([ADA_UNIFORMS]), normal, torch.tensor(0.5), ("blit", "geometry", "color")
    )
    assert torch.equal(augment(IMAGES, _draws()), expected)
