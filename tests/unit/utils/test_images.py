"""Grids and curves: sizes in closed form, pixels where they belong, files that can be opened."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from distgan.training.tracking.curves import PANELS, draw_curves, readable_top
from distgan.utils.images import PAD, SEPARATOR, class_columns, save_png, side_by_side, to_grid


def plain(count: int, size: int = 32) -> torch.Tensor:
    """Image i is filled with 10 * (i + 1)."""
    return (10 * torch.arange(1, count + 1)).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, size, size)


def test_a_grid_of_seven_is_three_columns_wide_and_doubles_32_pixel_images():
    assert to_grid(plain(7)).size == (3 * (64 + PAD) + PAD, 3 * (64 + PAD) + PAD)


def test_a_grid_keeps_every_pixel_and_its_channel():
    images = torch.randint(0, 256, (4, 3, 40, 24), dtype=torch.uint8)  # 64 // 40 = 1: not enlarged
    grid = torch.frombuffer(bytearray(to_grid(images, columns=2).tobytes()), dtype=torch.uint8)
    grid = grid.view(2 * (40 + PAD) + PAD, 2 * (24 + PAD) + PAD, 3)
    lower_right = grid[40 + 2 * PAD : 80 + 2 * PAD, 24 + 2 * PAD : 48 + 2 * PAD]
    assert torch.equal(lower_right, images[3].permute(1, 2, 0))


def test_gray_images_make_a_gray_grid(tmp_path: Path):
    images = torch.arange(2 * 64, dtype=torch.uint8).view(2, 1, 8, 8)
    grid = to_grid(images)
    assert grid.mode == "L"
    assert to_grid(images.expand(-1, 3, -1, -1)).tobytes() == grid.convert("RGB").tobytes()
    both = side_by_side(to_grid(images), to_grid(images))
    assert both.mode == "L"
    assert both.convert("RGB").tobytes() == side_by_side(*2 * [to_grid(images.repeat(1, 3, 1, 1))]).tobytes()


def test_images_are_enlarged_by_a_whole_factor_without_smoothing():
    image = torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8).expand(1, 3, 2, 2)
    grid = to_grid(image)
    assert grid.size == (64 + 2 * PAD, 64 + 2 * PAD)
    assert {color for _, color in grid.getcolors()} == {(0, 0, 0), (255, 255, 255)}


def test_images_run_row_by_row_and_the_rest_of_the_last_row_is_background():
    grid = to_grid(plain(5), columns=3)
    centres = [
        [grid.getpixel((PAD + c * (64 + PAD) + 32, PAD + r * (64 + PAD) + 32))[0] for c in range(3)] for r in (0, 1)
    ]
    assert centres == [[10, 20, 30], [40, 50, 255]]


def test_more_columns_than_images_give_one_row():
    assert to_grid(plain(2), columns=8).size == (2 * (64 + PAD) + PAD, 64 + 2 * PAD)


@pytest.mark.parametrize("bad", [torch.zeros(0, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, 3, 8, 8), plain(1)[0]])
def test_a_grid_refuses_other_shapes_and_types(bad):
    with pytest.raises(ValueError, match="a grid needs uint8"):
        to_grid(bad)


def test_reals_stand_left_of_fakes_with_a_black_line_between():
    both = side_by_side(to_grid(plain(4)), to_grid(255 - plain(4)))
    half = 2 * (64 + PAD) + PAD
    assert both.size == (2 * half + SEPARATOR, half)
    assert both.getpixel((PAD, PAD)) == (10, 10, 10)
    assert both.getpixel((half + SEPARATOR + PAD, PAD)) == (245, 245, 245)
    assert both.getpixel((half + SEPARATOR // 2, half // 2)) == (0, 0, 0)


def test_a_saved_png_reads_back_and_leaves_no_temporary_file(tmp_path: Path):
    save_png(to_grid(plain(3)), tmp_path / "grid.png")
    assert Image.open(tmp_path / "grid.png").tobytes() == to_grid(plain(3)).tobytes()
    assert [file.name for file in tmp_path.iterdir()] == ["grid.png"]


def row(images: int, value: float | None) -> dict[str, float | None]:
    keys = [key for _, curves in PANELS for key, _, _ in curves]
    return {"images": images, **dict.fromkeys(keys, value)}


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row(64, 0.5)],
        [row(i, v) for i, v in enumerate([0.1, math.nan, math.inf, -math.inf, None, 0.4])],
        [row(i, None) for i in range(3)],
        [{"images": 5}, {"images": 6, "loss/d": 1.0}],
        [row(i, 1e30 if i == 7 else 0.7) for i in range(5000)],
    ],
    ids=["no rows", "one row", "not finite", "only null", "keys missing", "long, one huge value"],
)
def test_curves_are_drawn_whatever_the_rows_hold(rows, tmp_path: Path):
    draw_curves(rows, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert image.size == (900, 900)
    assert len(list(tmp_path.iterdir())) == 1


def test_only_an_axis_that_outliers_would_flatten_is_cut():
    assert readable_top([0.5] * 99 + [1e6]) == 0.75
    assert readable_top([0.5] * 99 + [4.0]) is None
    assert readable_top([0.5, 1e6]) is None


@pytest.mark.parametrize(
    ("classes", "count", "columns"),
    [
        (10, 64, 10),
        (10, 100, 10),
        (3, 100, 9),
        (2, 16, 4),
        (1, 64, None),
        (21, 64, None),
        (8, 4, None),
        (100, 400, None),
    ],
)
def test_a_grid_is_about_square_and_each_of_its_columns_has_one_class(classes, count, columns):
    assert class_columns(classes, count) == columns
