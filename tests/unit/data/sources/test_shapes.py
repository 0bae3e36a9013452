"""The procedural images: what `truth` says is what is drawn, and image i depends on (seed, split, i) alone."""

import hashlib

import numpy as np
import pytest

from distgan.data.prepare import Request, prepare
from distgan.data.sources import shapes
from distgan.data.sources.base import select_classes
from distgan.data.sources.shapes import CLASSES, COLOURS, DISTANCES, LUMA, SIZE, Shapes, render, truth
from distgan.utils.counter_rng import bits, permutation, uniforms
from distgan.utils.errors import DataError


def _splitmix64(state: int) -> int:
    mask = 2**64 - 1
    z = (state + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_bits_are_splitmix64_on_a_counter_that_starts_at_a_hash_of_seed_and_purpose():
    key = int.from_bytes(hashlib.sha256(b"7:order").digest()[:8], "little")
    expected = [_splitmix64(key + i * 0x9E3779B97F4A7C15) for i in (0, 1, 2, 10**9)]
    assert bits(7, "order", [0, 1, 2, 10**9]).tolist() == expected


def test_uniforms_have_the_moments_of_the_uniform_distribution():
    draws = uniforms(3, "moments", np.arange(20_000), 5)
    assert draws.shape == (20_000, 5)
    assert draws.min() >= 0
    assert draws.max() < 1
    error = 5 / np.sqrt(12 * draws.size)  # five standard errors of the mean
    assert abs(draws.mean() - 0.5) < error
    assert np.abs(np.corrcoef(draws.T) - np.eye(5)).max() < 5 / np.sqrt(20_000)


def test_a_permutation_holds_every_number_once_and_follows_its_seed():
    assert sorted(permutation(1, "x", 1000)) == list(range(1000))
    assert not np.array_equal(permutation(1, "x", 1000), permutation(2, "x", 1000))


def test_an_image_does_not_depend_on_the_images_beside_it():
    together = render(truth(5, "train", np.arange(200)))
    alone = np.concatenate([render(truth(5, "train", [i])) for i in (0, 17, 199)])
    np.testing.assert_array_equal(together[[0, 17, 199]], alone)


def test_images_of_32_pixels_are_what_they_were_before_there_were_larger_ones():
    pixels = render(truth(0, "train", np.arange(2000))).tobytes()
    assert hashlib.sha256(pixels).hexdigest() == "5800f09d604ae1ed36cba24a312e37c8b449f6cce2d4bcb414f3e280ab934e46"
    assert Shapes(5).offer("train", None).request == {"count": 5, "seed": 0, "version": 1}


@pytest.mark.parametrize("size", [64, 128, 256])
def test_a_larger_image_is_the_same_scene_with_more_pixels(size):
    scenes, times = truth(5, "train", np.arange(20)), size // SIZE
    small, large = render(scenes).astype(float), render(scenes, size=size).astype(float)
    assert large.shape == (20, size, size, 3)
    means = large.reshape(20, SIZE, times, SIZE, times, 3).mean((2, 4))
    assert np.abs(means - small).mean() < 1
    edges = np.abs(np.diff(large, axis=2)).max()  # as sharp as a small one: no enlarged pixels
    assert edges > 0.6 * np.abs(np.diff(small, axis=2)).max()


def test_a_gray_image_is_the_luma_of_the_coloured_one():
    scenes = truth(5, "train", np.arange(20))
    gray = render(scenes, gray=True)
    assert gray.shape == (20, 32, 32, 1)
    assert np.abs(gray[..., 0] - render(scenes) @ LUMA).max() <= 1


@pytest.mark.parametrize(("channels", "depth"), [("rgb", 3), ("gray", 1)])
def test_a_data_set_of_a_size_and_of_gray_images_is_made_once(tmp_path, channels, depth):
    source = Shapes(30, size=64, channels=channels)
    first = prepare(Request(tmp_path / "shapes", source), progress=False)
    assert (first.size, first.channels, first.count) == (64, depth, 30)
    written = (tmp_path / "shapes" / "manifest.json").stat().st_mtime_ns
    assert prepare(Request(tmp_path / "shapes", source), progress=False) == first
    assert (tmp_path / "shapes" / "manifest.json").stat().st_mtime_ns == written
    with pytest.raises(DataError, match="holds a data set"):
        prepare(Request(tmp_path / "shapes", Shapes(30)), progress=False)


def test_train_and_test_and_other_seeds_share_no_image():
    sets = [
        {image.tobytes() for image in render(truth(seed, split, np.arange(500)))}
        for seed, split in ((0, "train"), (0, "test"), (1, "train"))
    ]
    assert [len(s) for s in sets] == [500, 500, 500]
    assert len(set.union(*sets)) == 1500


def test_the_class_is_the_index_modulo_ten():
    np.testing.assert_array_equal(truth(0, "train", np.arange(35)).label, np.arange(35) % 10)
    assert tuple(sorted(CLASSES)) == CLASSES == tuple(sorted(DISTANCES))


@pytest.mark.parametrize("name", ["circle", "square", "cross", "star", "heart", "triangle", "diamond"])
def test_the_centre_of_a_solid_shape_has_the_colour_that_truth_names(name):
    what = truth(0, "train", CLASSES.index(name) + 10 * np.arange(300))
    column, row = np.floor(what.centre).astype(int).T
    seen = render(what)[np.arange(300), row, column] / 255
    np.testing.assert_allclose(seen, what.rgb, atol=0.5 / 255 + 1e-6)
    palette = np.array(list(COLOURS.values()))[what.colour] / 255
    np.testing.assert_allclose(what.rgb, np.clip(palette, 0, 1), atol=0.05 + 1e-9)


def _cover(what):
    grid = np.arange(SIZE, dtype=np.float32) + 0.5
    x, y = what.centre[:, :1, None], what.centre[:, 1:, None]
    return shapes._cover(what, grid[None, None, :] - x, grid[None, :, None] - y)


def test_the_area_of_a_circle_is_pi_r_squared():
    """The covered share of all pixels adds up to the area: edges are anti-aliased, nothing is cut off."""
    what = truth(0, "train", 1 + 10 * np.arange(200))
    area = _cover(what).sum(axis=(1, 2))
    np.testing.assert_allclose(area, np.pi * (0.88 * what.radius) ** 2, rtol=0.005)


def test_no_shape_touches_the_edge_of_its_image():
    cover = _cover(truth(0, "train", np.arange(2000)))
    border = np.concatenate([cover[:, 0], cover[:, -1], cover[:, :, 0], cover[:, :, -1]], axis=1)
    assert border.max() == 0
    assert cover.sum(axis=(1, 2)).min() > 40  # pixels: large enough to be seen


def test_every_shape_stands_out_from_its_ground_in_brightness():
    what = truth(0, "train", np.arange(5000))
    difference = np.abs(what.rgb @ LUMA - (what.ground @ LUMA).T)  # [2, N]
    assert difference.min() > 0.2


def test_colours_places_sizes_and_grounds_all_vary():
    what = truth(0, "train", np.arange(4000))
    assert np.bincount(what.colour).min() > 300  # of 400 expected
    assert np.bincount(what.background).min() > 1900  # of 2000 expected
    assert what.radius.min() < 9.1
    assert what.radius.max() > 12.9
    assert what.centre.std(axis=0).min() > 2.2


def test_chosen_classes_are_balanced_and_keep_their_image_numbers():
    images = Shapes(count=30, seed=4).offer("train", ("star", "circle"))
    assert images.classes == ("circle", "star")
    loaded = images.load(False)
    assert np.bincount(loaded.labels).tolist() == [15, 15]
    assert [CLASSES[key % 10] for key in loaded.keys] == ["circle", "star"] * 15
    np.testing.assert_array_equal(
        np.stack(loaded.read(np.array([3, 8]))), render(truth(4, "train", loaded.keys[[3, 8]]))
    )


def test_an_unknown_class_is_refused_with_the_nearest_and_the_list():
    with pytest.raises(DataError, match=r"class 'strar' .*nearest: star; there are arrow, circle"):
        select_classes(CLASSES, ("strar",))
    with pytest.raises(DataError, match="class 'fish' is not in this data set; there are arrow"):
        select_classes(CLASSES, ("fish",))
    with pytest.raises(DataError, match="names no class"):
        select_classes(CLASSES, ())
