"""`fit_image`: any image becomes one of a data set's size and channels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from distgan.data.fit import Fit, fit_image, squared, to_gray, to_rgb
from tests.support.image_files import noise

MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "I;16", "I"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_every_mode_becomes_the_size_and_the_channels(mode, fit):
    for channels, count in (("rgb", 3), ("gray", 1)):
        made = fit_image(Image.new(mode, (5, 9)), Fit(4, fit, channels))
        assert (made.shape, made.dtype) == ((4, 4, count), np.uint8)


def test_a_constant_image_stays_constant_at_every_size():
    image = Image.new("RGB", (7, 301), (10, 200, 90))
    for size in (1, 8, 64):
        for fit in ("crop", "stretch"):
            made = np.asarray(squared(image, Fit(size, fit)))
            assert np.unique(made.reshape(-1, 3), axis=0).tolist() == [[10, 200, 90]]


def test_padding_centres_a_small_image_without_changing_a_pixel():
    pixels = noise(28, 28)
    made = fit_image(Image.fromarray(pixels), Fit(32, "pad", "gray")).copy()
    np.testing.assert_array_equal(made[2:30, 2:30, 0], pixels)
    made[2:30, 2:30] = 0
    assert not made.any()


def test_padding_makes_a_large_image_smaller_and_keeps_all_of_it():
    pixels = noise(64, 128, 3)
    made = fit_image(Image.fromarray(pixels), Fit(32, "pad"))
    inner = Image.fromarray(pixels).resize((32, 16), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(made[8:24], np.asarray(inner))
    assert not made[:8].any()
    assert not made[24:].any()


def test_stretching_scales_both_sides():
    pixels = noise(64, 128, 3)
    inner = Image.fromarray(pixels).resize((32, 32), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(fit_image(Image.fromarray(pixels), Fit(32, "stretch")), np.asarray(inner))


def test_grey_images_are_the_same_in_one_channel_and_in_three():
    for pixels in (noise(8, 8), noise(8, 8, 2)):
        image = Image.fromarray(pixels) if pixels.ndim == 2 else Image.fromarray(pixels, "LA")
        rgb, grey = np.asarray(to_rgb(image)), np.asarray(to_gray(image))
        np.testing.assert_array_equal(rgb, np.stack([grey] * 3, 2))


def test_numbers_without_a_known_white_are_refused():
    with pytest.raises(ValueError, match="it has values up to 0.5, and nothing says which one is white"):
        fit_image(Image.fromarray(np.full((4, 4), 0.5, np.float32)), Fit(4))


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 40), st.sampled_from(["crop", "pad", "stretch"]))
def test_any_shape_gives_the_size(width, height, size, fit):
    assert squared(Image.new("RGB", (width, height)), Fit(size, fit)).size == (size, size)
