"""Augmentations against closed forms, and ADA's controller. Numbers are chosen by hand, one row per image."""

from __future__ import annotations

import contextlib
import math

import pytest
import torch
from torch import Tensor

from distgan.training.augment import ADA_NORMALS, ADA_UNIFORMS, DIFF_UNIFORMS, ada_augment, diff_augment, next_p

ALL_DIFF, ALL_ADA = ("color", "translation", "cutout"), ("blit", "geometry", "color")
ONE, ZERO = torch.tensor(1.0), torch.tensor(0.0)
NEVER, ALWAYS = 0.99, 0.0  # a decision's number, at p = 0.5
HALF = torch.tensor(0.5)
# Columns of the uniform numbers: decisions, then how.
MIRROR, QUARTERS, SHIFT, ZOOM, STRETCH, MOVE, BRIGHTNESS, CONTRAST, FLIP, HUE, SATURATION, FIRST, SECOND = range(13)
HOW_MIRROR, HOW_QUARTERS, HOW_X, HOW_Y, HOW_FIRST, HOW_SECOND, HOW_FLIP, HOW_HUE = range(13, 21)
N_ZOOM, N_STRETCH, N_X, N_Y, N_BRIGHTNESS, N_CONTRAST, N_SATURATION = range(7)


def random_images(count: int = 8, side: int = 16, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(3), dtype=dtype) * 2 - 1


def numbers(count: int, seed: int = 0, **options) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(count, ADA_UNIFORMS, generator=generator, **options)
    return uniform, torch.randn(count, ADA_NORMALS, generator=generator, **options)


def ada(images: Tensor, decisions: tuple[int, ...], how: dict[int, float], normal: dict[int, float]) -> Tensor:
    """Only these transformations, with these numbers, at p = 0.5."""
    uniform, gauss = torch.full((len(images), ADA_UNIFORMS), NEVER), torch.zeros(len(images), ADA_NORMALS)
    for column in decisions:
        uniform[:, column] = ALWAYS
    for column, value in how.items():
        uniform[:, column] = value
    for column, value in normal.items():
        gauss[:, column] = value
    return ada_augment(images, uniform, gauss, HALF, ALL_ADA)


def shifted(images: Tensor, x: int, y: int) -> Tensor:
    """To the right and down, zeros from outside."""
    moved, side = torch.zeros_like(images), images.shape[-1]
    source = images[:, :, max(-y, 0) : side - max(y, 0), max(-x, 0) : side - max(x, 0)]
    moved[:, :, max(y, 0) : side - max(-y, 0), max(x, 0) : side - max(-x, 0)] = source
    return moved


# Gray images


@pytest.mark.parametrize("policy", [("blit",), ("geometry",), ("color",), ALL_ADA])
def test_ada_does_with_a_gray_image_what_it_does_with_three_equal_channels(policy):
    """As StyleGAN2-ADA: of a colour matrix, one channel gets what grey gets; hue and saturation do nothing."""
    gray, (uniform, normal) = random_images(64)[:, :1], numbers(64)
    one = ada_augment(gray, uniform, normal, torch.tensor(0.7), policy)
    three = ada_augment(gray.expand(-1, 3, -1, -1), uniform, normal, torch.tensor(0.7), policy)
    assert one.shape == gray.shape
    assert not torch.equal(one, gray)
    torch.testing.assert_close(one.expand(-1, 3, -1, -1), three)


def test_ada_s_luma_flip_of_a_gray_image_is_its_negative_and_hue_and_saturation_leave_it():
    gray = random_images(4)[:, :1]
    assert torch.equal(ada(gray, (FLIP,), {HOW_FLIP: 0.1}, {}), -gray)
    assert torch.equal(ada(gray, (HUE, SATURATION), {HOW_HUE: 0.9}, {N_SATURATION: 1.0}), gray)
    found = ada(gray, (BRIGHTNESS, CONTRAST), {}, {N_BRIGHTNESS: 1.0, N_CONTRAST: 2.0})
    torch.testing.assert_close(found, 2 * (gray + 0.2))


def test_diffaugment_does_with_a_gray_image_what_it_does_with_three_equal_channels():
    gray = random_images(64)[:, :1]
    uniform = torch.rand(64, DIFF_UNIFORMS, generator=torch.Generator().manual_seed(5))
    one, three = diff_augment(gray, uniform, ALL_DIFF), diff_augment(gray.expand(-1, 3, -1, -1), uniform, ALL_DIFF)
    assert one.shape == gray.shape
    torch.testing.assert_close(one.expand(-1, 3, -1, -1), three)
    saturation_only = torch.full((64, DIFF_UNIFORMS), 0.5).index_fill(1, torch.tensor([1]), 0.9)
    torch.testing.assert_close(diff_augment(gray, saturation_only, ("color",)), gray)


# DiffAugment


def neutral(count: int) -> Tensor:
    return torch.full((count, DIFF_UNIFORMS), 0.5)  # adds 0, multiplies by 1, shifts by 0


def test_neutral_numbers_leave_colours_and_places_as_they_are():
    images = random_images()
    torch.testing.assert_close(diff_augment(images, neutral(8), ("color", "translation")), images)


@pytest.mark.parametrize("u", [0.0, 0.2, 0.99])
def test_brightness_adds(u):
    uniform = neutral(8)
    uniform[:, 0] = u
    torch.testing.assert_close(diff_augment(random_images(), uniform, ("color",)), random_images() + u - 0.5)


def test_saturation_0_is_grey():
    uniform = neutral(8)
    uniform[:, 1] = 0
    grey = random_images().mean(1, keepdim=True).expand(-1, 3, -1, -1)
    torch.testing.assert_close(diff_augment(random_images(), uniform, ("color",)), grey)


def test_contrast_is_about_each_images_mean():
    uniform = neutral(8)
    uniform[:, 2] = 0.25
    images = random_images()
    mean = images.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(diff_augment(images, uniform, ("color",)), mean + (images - mean) * 0.75)


def test_translation_is_a_shift_by_whole_pixels_with_zeros_from_outside():
    uniform, offsets = neutral(25), [(x, y) for x in (-2, -1, 0, 1, 2) for y in (-2, -1, 0, 1, 2)]  # 16 / 8 = 2
    uniform[:, 3:5] = (torch.tensor(offsets) + 2.5) / 5
    moved = diff_augment(random_images(25), uniform, ("translation",))
    for image, (x, y), result in zip(random_images(25), offsets, moved, strict=True):
        assert torch.equal(result, shifted(image[None], x, y)[0])


def test_all_translations_are_as_likely():
    uniform = neutral(1000)
    uniform[:, 3] = (torch.arange(1000) + 0.5) / 1000
    line = torch.zeros(1000, 3, 16, 16)
    line[:, :, :, 8] = 1
    counts = diff_augment(line, uniform, ("translation",)).mean((0, 1, 2))
    torch.testing.assert_close(counts[6:11], torch.full((5,), 0.2))


@pytest.mark.parametrize(("u", "first", "last"), [(0.0, 0, 3), (0.5, 4, 11), (0.999, 12, 15)])
def test_cutout_zeroes_a_square_of_half_the_side_around_a_place_in_the_image(u, first, last):
    uniform = neutral(8)
    uniform[:, 5] = u  # the row's stays in the middle: rows 4 to 11
    cut = diff_augment(random_images() + 5, uniform, ("cutout",))
    expected = random_images() + 5
    expected[:, :, 4:12, first : last + 1] = 0
    assert torch.equal(cut, expected)


def test_cutout_of_an_odd_side():
    cut = diff_augment(torch.ones(1, 3, 9, 9), neutral(1), ("cutout",))
    assert (cut == 0).sum() == 3 * 5 * 5  # 9 / 2 + 0.5


def test_the_order_of_the_policy_is_the_order_of_the_steps():
    uniform = torch.rand(8, DIFF_UNIFORMS, generator=torch.Generator().manual_seed(0))
    one_by_one = random_images()
    for name in ("cutout", "color"):
        one_by_one = diff_augment(one_by_one, uniform, (name,))
    assert torch.equal(diff_augment(random_images(), uniform, ("cutout", "color")), one_by_one)
    assert not torch.equal(diff_augment(random_images(), uniform, ("color", "cutout")), one_by_one)


@pytest.mark.parametrize("name", ALL_DIFF)
def test_diff_augment_can_be_differentiated_twice(name):
    uniform = torch.rand(2, DIFF_UNIFORMS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    images = random_images(2, 6, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: diff_augment(x, uniform, (name,)), images)
    assert torch.autograd.gradgradcheck(lambda x: diff_augment(x, uniform, (name,)) ** 2, images)


# ADA


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_p_0_nothing_changes_bit_for_bit(dtype):
    images = random_images(64, dtype=dtype)
    assert torch.equal(ada_augment(images, *numbers(64), ZERO, ALL_ADA), images)


def test_at_p_1_half_of_the_images_are_mirrored():
    uniform, normal = numbers(400)
    uniform[:, HOW_QUARTERS] = 0
    uniform[:, HOW_X : HOW_Y + 1] = 0.5
    images = random_images(400)
    mirrored = ada_augment(images, uniform, normal, ONE, ("blit",))
    here = uniform[:, HOW_MIRROR] < 0.5
    assert torch.equal(mirrored[here], images[here].flip(3))
    assert torch.equal(mirrored[~here], images[~here])


@pytest.mark.parametrize("k", [0, 1, 2, 3])
def test_a_quarter_turn_is_rot90(k):
    assert torch.equal(ada(random_images(), (QUARTERS,), {HOW_QUARTERS: k / 4}, {}), random_images().rot90(k, (2, 3)))


def test_a_blit_shift_is_by_whole_pixels_and_mirrors_the_edge():
    moved = ada(random_images(), (SHIFT,), {HOW_X: 0.999, HOW_Y: 0.0}, {})  # right and up by 16 / 8 = 2
    images = random_images()
    assert torch.equal(moved[:, :, :-2, 2:], images[:, :, 2:, :-2])
    assert torch.equal(moved[:, :, :-2, :2], images[:, :, 2:, :2].flip(3))
    assert torch.equal(moved[:, :, -2:, 2:], images[:, :, -2:, :-2].flip(2))


def test_a_geometric_shift_by_whole_pixels_is_the_same_as_a_blit():
    moved = ada(random_images(), (MOVE,), {}, {N_X: 1.0, N_Y: -1.0})  # one standard deviation is 16 / 8 pixels
    blit = ada(random_images(), (SHIFT,), {HOW_X: 0.999, HOW_Y: 0.0}, {})
    torch.testing.assert_close(moved, blit, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rotation", [(FIRST, HOW_FIRST), (SECOND, HOW_SECOND)])
def test_a_rotation_by_a_quarter_is_rot90(rotation):
    decision, how = rotation
    turned = ada(random_images(), (decision,), {how: 0.75}, {})
    torch.testing.assert_close(turned, random_images().rot90(3, (2, 3)), atol=1e-5, rtol=0)


def plane(a: float, b: float, side: int = 16) -> Tensor:
    """An image a x + b y, in coordinates from the centre, which bilinear resampling does not change."""
    line = torch.arange(side) + 0.5 - side / 2
    return (a * line[None, :] + b * line[:, None]).expand(1, 3, -1, -1)


def middle(images: Tensor) -> Tensor:
    return images[:, :, 6:10, 6:10]  # has not seen the mirrored edge


def test_scaling_and_stretching_are_by_powers_of_2_to_the_fifth_of_the_number():
    larger = ada(plane(1, 2), (ZOOM,), {}, {N_ZOOM: 1.5})
    torch.testing.assert_close(middle(larger), middle(plane(1, 2) / 2**0.3))
    wider = ada(plane(1, 2), (STRETCH,), {}, {N_STRETCH: 1.5})
    torch.testing.assert_close(middle(wider), middle(plane(1 / 2**0.3, 2 * 2**0.3)))


def test_geometric_steps_are_composed_in_the_papers_order():
    """Zoomed, turned, stretched, turned, shifted: the same as one after the other."""
    how = {HOW_FIRST: 0.55, HOW_SECOND: 0.4}
    normal = {N_ZOOM: 0.5, N_STRETCH: 1.0, N_X: 0.1, N_Y: -0.2}
    together = ada(plane(1, 2), (ZOOM, FIRST, STRETCH, SECOND, MOVE), how, normal)
    a, b = torch.tensor([1.0, 2.0], dtype=torch.float64) / 2 ** (0.2 * 0.5)
    for name in ("first", "stretch", "second"):
        if name == "stretch":
            a, b = a / 2**0.2, b * 2**0.2
        else:
            angle = math.pi * (2 * how[HOW_FIRST if name == "first" else HOW_SECOND] - 1)
            a, b = a * math.cos(angle) - b * math.sin(angle), a * math.sin(angle) + b * math.cos(angle)
    expected = plane(float(a), float(b)) - float(a * 0.1 * 2 + b * -0.2 * 2)
    torch.testing.assert_close(middle(together), middle(expected), atol=1e-5, rtol=0)


def test_colours_brightness_contrast_and_luma_flip():
    images = random_images()
    torch.testing.assert_close(ada(images, (BRIGHTNESS,), {}, {N_BRIGHTNESS: -1.5}), images - 0.3)
    torch.testing.assert_close(ada(images, (CONTRAST,), {}, {N_CONTRAST: 2.0}), images * 2)
    both = ada(images, (BRIGHTNESS, CONTRAST), {}, {N_BRIGHTNESS: -1.5, N_CONTRAST: 2.0})
    torch.testing.assert_close(both, (images - 0.3) * 2)
    axis = torch.full((3, 1), 3**-0.5)
    reflection = torch.eye(3) - 2 * axis @ axis.T
    flipped = torch.einsum("cd,bdhw->bchw", reflection, images)
    torch.testing.assert_close(ada(images, (FLIP,), {HOW_FLIP: 0.4}, {}), flipped)
    torch.testing.assert_close(ada(images, (FLIP,), {HOW_FLIP: 0.6}, {}), images)


def test_a_hue_of_a_third_of_a_turn_moves_the_channels_on_and_saturation_is_about_grey():
    images = random_images()
    turned = ada(images, (HUE,), {HOW_HUE: 0.5 + 1 / 3}, {})
    torch.testing.assert_close(turned, images.roll(1, 1), atol=1e-5, rtol=0)
    grey = images.mean(1, keepdim=True)
    torch.testing.assert_close(ada(images, (SATURATION,), {}, {N_SATURATION: 1.0}), grey + (images - grey) * 2)


@pytest.mark.parametrize("p", [0.2, 0.7])
def test_each_transformation_is_drawn_with_probability_p_and_some_rotation_too(p):
    count = 20_000
    uniform, normal = numbers(count)
    images = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)).expand(count, -1, -1, -1)

    def changed(columns: list[int], policy: str) -> float:
        chosen = torch.full_like(uniform, NEVER)
        chosen[:, columns + list(range(13, 21))] = uniform[:, columns + list(range(13, 21))]
        seen = ada_augment(images, chosen, normal, torch.tensor(p), (policy,))
        return (seen != images).flatten(1).any(1).double().mean().item()

    error = 4 * math.sqrt(p * (1 - p) / count)
    for column in (ZOOM, STRETCH, MOVE):
        assert abs(changed([column], "geometry") - p) < error
    for column in (BRIGHTNESS, CONTRAST, HUE, SATURATION):
        assert abs(changed([column], "color") - p) < error
    assert abs(changed([FIRST, SECOND], "geometry") - p) < error
    assert abs(changed([MIRROR], "blit") - p / 2) < error
    assert abs(changed([QUARTERS], "blit") - p * 3 / 4) < error


@pytest.mark.parametrize("side", [4, 8])
def test_ada_is_differentiable(side):
    images = random_images(2, side, torch.float64).requires_grad_()
    uniform, normal = numbers(2, 5, dtype=torch.float64)
    p = torch.tensor(0.9, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: ada_augment(x, uniform, normal, p, ALL_ADA), images)
    assert torch.autograd.gradgradcheck(lambda x: ada_augment(x, uniform, normal, p, ALL_ADA) ** 2, images)


# Both


@pytest.mark.parametrize("kind", ["diffaugment", "ada"])
def test_a_image_depends_on_its_own_row_only(kind):
    results = []
    for seed in (1, 2):
        images, (uniform, normal) = random_images(16).roll(seed, 0), numbers(16, seed)
        images[5], uniform[5], normal[5] = random_images(1)[0], *(rows[0] for rows in numbers(1))
        if kind == "ada":
            results.append(ada_augment(images, uniform, normal, torch.tensor(0.9), ALL_ADA))
        else:
            results.append(diff_augment(images, uniform[:, :DIFF_UNIFORMS], ALL_DIFF))
    assert torch.equal(results[0][5], results[1][5])
    assert not torch.equal(results[0][6], results[1][6])


@pytest.mark.parametrize("kind", ["diffaugment", "ada"])
def test_mixed_precision_outside_does_not_reach_inside(kind):
    uniform, normal = numbers(8)

    def augment() -> Tensor:
        if kind == "ada":
            return ada_augment(random_images(), uniform, normal, HALF, ALL_ADA)
        return diff_augment(random_images(), uniform[:, :DIFF_UNIFORMS], ALL_DIFF)

    with torch.autocast("cpu", torch.bfloat16):
        inside = augment()
    assert inside.dtype == torch.float32
    assert torch.equal(inside, augment())


def test_nothing_waits_for_the_device(monkeypatch):
    """A meta tensor has no values: whatever asks for one raises. (It has no autocast either.)"""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    images, p = torch.empty(8, 3, 16, 16, device="meta"), torch.empty((), device="meta")
    uniform, normal = numbers(8)
    assert ada_augment(images, uniform.to("meta"), normal.to("meta"), p, ALL_ADA).shape == images.shape
    assert diff_augment(images, uniform[:, :DIFF_UNIFORMS].to("meta"), ALL_DIFF).shape == images.shape
    assert next_p(p, p, 0.6, 64, 640).shape == ()


def test_p_moves_by_the_share_of_its_span_towards_the_target():
    p = torch.tensor(0.3)
    torch.testing.assert_close(next_p(p, torch.tensor(0.61), 0.6, 64, 640), torch.tensor(0.4))
    torch.testing.assert_close(next_p(p, torch.tensor(0.59), 0.6, 64, 640), torch.tensor(0.2))


def test_p_stays_between_0_and_1():
    assert next_p(torch.tensor(0.95), torch.tensor(1.0), 0.6, 64, 640) == 1
    assert next_p(torch.tensor(0.05), torch.tensor(-1.0), 0.6, 64, 640) == 0


def test_p_goes_from_0_to_1_in_speed_images():
    p = ZERO
    for _ in range(100):
        p = next_p(p, ONE, 0.6, 5, 500)
    torch.testing.assert_close(p, ONE)
