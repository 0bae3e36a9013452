"""Shapes' coverage against the known truth of images that are held out from every data set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from distgan.data.sources.shapes import CLASSES, Truth, render, truth
from distgan.metrics.shapes_coverage import CELLS, RECOGNISED, SHARP, coverage, recognise

COUNT = 3000
WHAT = truth(11, "held-out", np.arange(COUNT))


def drawn(what: Truth) -> np.ndarray:
    return render(what).transpose(0, 3, 1, 2)


def only(here: np.ndarray) -> Truth:
    return Truth(**{name: values[here] for name, values in vars(WHAT).items()})


REALS = drawn(WHAT)
FOUND = recognise(REALS)


def blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    soft = (Image.fromarray(image.transpose(1, 2, 0)).filter(ImageFilter.GaussianBlur(sigma)) for image in images)
    return np.stack([np.asarray(image).transpose(2, 0, 1) for image in soft])


def test_every_real_image_is_recognised_with_its_class_and_its_colour():
    assert FOUND.sure.all()
    assert FOUND.fit.min() > 0.99  # well above the threshold: room for a generator's small faults
    np.testing.assert_array_equal(FOUND.label, WHAT.label)
    np.testing.assert_array_equal(FOUND.colour, WHAT.colour)


@pytest.mark.parametrize("size", [64, 128, 256])
def test_real_images_of_larger_sizes_are_recognised_as_well(size):
    what = truth(0, "test", np.arange(300))
    found = recognise(render(what, size=size).transpose(0, 3, 1, 2))
    assert found.sure.mean() >= 0.99
    assert (found.label == what.label).mean() >= 0.99
    assert np.abs(found.centre - what.centre).max() < 0.25


def test_places_and_radii_are_found_to_a_quarter_of_a_pixel():
    assert np.abs(FOUND.centre - WHAT.centre).max() < 0.25
    assert np.abs(FOUND.radius - WHAT.radius).max() < 0.25
    column, row = np.digitize(WHAT.centre, CELLS).T
    inside = (np.abs(WHAT.centre[:, :, None] - np.array(CELLS)) > 0.25).all((1, 2))
    np.testing.assert_array_equal(FOUND.cell[inside], (3 * row + column)[inside])


def test_a_set_of_real_images_covers_all():
    scores = coverage(torch.from_numpy(REALS), torch.from_numpy(WHAT.label))
    assert scores["shapes_balance"] == pytest.approx(1, abs=1e-12)
    del scores["shapes_balance"]
    assert scores == {
        "shapes_recognised": 1,
        "shapes_sharp": 1,
        "shapes_classes": 10,
        "shapes_colours": 10,
        "shapes_places": 1,
        "shapes_right_class": 1,
    }


@pytest.mark.parametrize(
    "images",
    [
        np.random.default_rng(0).integers(0, 256, (500, 3, 32, 32), dtype=np.uint8),
        np.full((1, 3, 32, 32), 130, np.uint8),
        np.broadcast_to(np.arange(0, 256, 8, dtype=np.uint8), (1, 3, 32, 32)),
        REALS[:300, :, :, ::-1][WHAT.label[:300] == CLASSES.index("arrow")],  # no real arrow points to the left
    ],
    ids=["noise", "blank", "gradient", "mirrored-arrows"],
)
def test_what_is_not_a_shape_is_not_recognised_and_scores_nothing(images):
    assert recognise(images).fit.max() < RECOGNISED
    assert coverage(images, np.zeros(len(images), np.int64)) == {
        "shapes_recognised": 0,
        "shapes_sharp": 0,
        "shapes_classes": 0,
        "shapes_colours": 0,
        "shapes_places": 0,
        "shapes_balance": 0,
        "shapes_right_class": 0,
    }


def test_a_blurred_shape_may_be_told_by_its_class_but_is_not_sharp():
    found = recognise(blurred(REALS[:300], 2.0))
    assert 0.4 < found.sure.mean() < 0.6
    assert (found.label[found.sure] == WHAT.label[:300][found.sure]).all()
    assert not (found.fit >= SHARP).any()


def test_blends_of_two_images_are_recognised_only_where_one_hides_the_other():
    blends = ((REALS[:1500].astype(int) + REALS[1500:][::-1]) // 2).astype(np.uint8)
    found = recognise(blends)
    assert found.sure.mean() <= 0.05
    assert (found.fit >= SHARP).mean() <= 0.01


def test_two_halves_of_different_images_are_not_recognised():
    halves = np.concatenate([REALS[:1500, :, :16], REALS[1500:, :, 16:][::-1]], axis=2)
    found = recognise(halves)
    assert found.sure.mean() <= 0.012
    assert (found.fit >= SHARP).mean() <= 0.002


def test_a_little_noise_changes_neither_class_nor_colour():
    noise = np.random.default_rng(1).normal(0, 10, REALS.shape)
    found = recognise(np.clip(REALS + noise, 0, 255).astype(np.uint8))
    np.testing.assert_array_equal(found.label, WHAT.label)
    np.testing.assert_array_equal(found.colour, WHAT.colour)


def test_a_missing_class_is_missed():
    scores = coverage(drawn(only(WHAT.label != CLASSES.index("heart"))))
    assert scores["shapes_classes"] == 9
    assert scores["shapes_balance"] == pytest.approx(np.log(9) / np.log(10), abs=1e-12)


def test_a_class_below_a_fair_share_does_not_count():
    hearts = np.flatnonzero(WHAT.label == CLASSES.index("heart"))
    for kept, classes in ((68, 9), (70, 10)):  # of 2,700 others: 2.46 % and 2.53 %
        here = np.ones(COUNT, bool)
        here[hearts[kept:]] = False
        assert coverage(drawn(only(here)))["shapes_classes"] == classes


def test_one_class_alone_has_no_balance():
    assert coverage(drawn(only(WHAT.label == 3)))["shapes_balance"] == 0


def test_one_colour_is_counted_as_one():
    assert coverage(drawn(only(WHAT.colour == 4)))["shapes_colours"] == 1


def test_one_place_is_one_cell_of_nine():
    scores = coverage(drawn(replace(WHAT, centre=np.full((COUNT, 2), 16.0))))
    assert scores["shapes_places"] == pytest.approx(1 / 9)
    assert scores["shapes_classes"] == 10


def test_images_of_another_class_than_asked_for_are_counted():
    asked = np.where(np.arange(COUNT) < 600, (WHAT.label + 1) % 10, WHAT.label)
    assert coverage(REALS, asked)["shapes_right_class"] == pytest.approx(1 - 600 / COUNT)


def test_each_image_is_judged_on_its_own():
    alone = recognise(REALS[700:701])
    assert alone.fit[0] == pytest.approx(FOUND.fit[700], abs=1e-6)
    assert (alone.label[0], alone.colour[0]) == (FOUND.label[700], FOUND.colour[700])


def test_small_and_large_shapes_are_not_taken_for_real_ones():
    for factor in (0.6, 1.5):
        centred = np.full((COUNT, 2), 16.0)
        images = drawn(replace(WHAT, radius=factor * np.where(factor < 1, 9.0, 13.0) * np.ones(COUNT), centre=centred))
        assert not recognise(images).sure.any()
