"""Images as tensors and files: value ranges, grids, PNG.

uint8 0 ... 255 in files, float -1 ... 1 in networks.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from distgan.utils.files import atomic_path

PAD = 2  # pixels around each image of a grid
SEPARATOR = 8  # pixels between the real and the fake half
VISIBLE = 64  # small images are enlarged by a whole factor up to about this many pixels a side
BACKGROUND = 255
MAX_COLUMNS = 20  # classes that have columns of their own in a grid


def to_grid(images: Tensor, columns: int | None = None) -> Image.Image:
    """Images side by side, row by row, enlarged by a whole factor (no smoothing) when they are small.

    images: uint8 [N, 3, H, W] or, gray, [N, 1, H, W] on the CPU, N >= 1; columns: None makes the grid about square.
    Raises ValueError on another shape or type.
    """
    if images.ndim != 4 or images.shape[0] < 1 or images.shape[1] not in (1, 3) or images.dtype != torch.uint8:
        raise ValueError(f"a grid needs uint8 [N >= 1, 3 or 1, H, W], got {images.dtype} {list(images.shape)}")
    count = len(images)
    columns = min(count, columns or math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)
    cells = enlarged(images, VISIBLE)
    cells = pad(cells, (0, PAD, 0, PAD, 0, 0, 0, rows * columns - count), value=BACKGROUND)
    canvas = cells.unflatten(0, (rows, columns)).permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)
    canvas = pad(canvas, (PAD, 0, PAD, 0), value=BACKGROUND)
    return to_image(canvas)


def class_columns(classes: int, count: int) -> int | None:
    """Columns of a grid of `count` images whose classes come in turn, about square, so that each column has one class.

    A multiple of the number of classes; None where there is one class, or where there are many.
    """
    if not 1 < classes <= min(count, MAX_COLUMNS):
        return None
    return classes * max(1, round(math.sqrt(count) / classes))


def enlarged(pixels: Tensor, side: int) -> Tensor:
    """[..., H, W] by the largest whole factor, without smoothing, with which the longer edge is at most `side` pixels.

    Larger images stay as they are.
    """
    factor = max(1, side // max(pixels.shape[-2:]))
    return pixels.repeat_interleave(factor, -2).repeat_interleave(factor, -1)


def to_image(pixels: Tensor) -> Image.Image:
    """uint8 [3, H, W], or [1, H, W] in gray, on the CPU as an image of the mode RGB, or L."""
    return Image.fromarray((pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)).contiguous().numpy())


def side_by_side(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two grids, a black line between them."""
    size = (left.width + SEPARATOR + right.width, max(left.height, right.height))
    both = Image.new(left.mode, size, "white")
    both.paste(left, (0, 0))
    both.paste("black", (left.width + SEPARATOR // 2 - 1, 0, left.width + SEPARATOR // 2 + 1, both.height))
    both.paste(right, (left.width + SEPARATOR, 0))
    return both


def right_half(both: Image.Image) -> Image.Image:
    """The right of two grids of one size that `side_by_side` has joined; another image as it is."""
    line = (both.width // 2 - 1, 0, both.width // 2 + 1, both.height)
    if both.width % 2 or both.convert("L").crop(line).getextrema() != (0, 0):
        return both
    return both.crop(((both.width + SEPARATOR) // 2, 0, both.width, both.height))


def save_png(image: Image.Image, path: Path) -> None:
    """Writes a PNG so that a reader never sees half of it."""
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG")


def to_signed(images: Tensor) -> Tensor:
    """uint8 0 ... 255 -> -1 ... 1 in torch's default float type."""
    return images.to(torch.get_default_dtype()).div_(127.5).sub_(1.0)


def to_bytes(images: Tensor) -> Tensor:
    """Float -1 ... 1 -> uint8 0 ... 255, rounded to the nearest; values outside are clamped."""
    return images.float().add(1.0).mul(127.5).round().clamp(0, 255).to(torch.uint8)
