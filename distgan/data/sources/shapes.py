"""The embedded source: ten classes of drawn images, for runs without a download.

Image i of a split is a pure function of (seed, split, i), its class is i % 10. Shapes are signed distance functions,
so edges are anti-aliased; `truth` returns the colour, position and size of each shape, for evaluation, in the pixels of
a 32x32 image. A larger image is the same scene, drawn with more pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import PositiveInt

from distgan.data.shards.png import Pixels
from distgan.data.sources.base import Offer, SourceImages, select_classes
from distgan.utils.counter_rng import IntArray, uniforms

SIZE = 32  # pixels; the unit of `Truth` is one of them
SIZES = (32, 64, 128, 256)
ONE = np.float32(1)
DRAWN = 500 * SIZE**2  # pixels at a time; limits the memory
CLASSES = ("arrow", "circle", "crescent", "cross", "diamond", "heart", "ring", "square", "star", "triangle")
COLOURS = {
    "red": (222, 38, 42),
    "orange": (250, 140, 24),
    "yellow": (250, 222, 50),
    "green": (36, 160, 66),
    "cyan": (60, 214, 222),
    "blue": (40, 78, 226),
    "purple": (146, 48, 184),
    "pink": (250, 150, 200),
    "black": (24, 24, 28),
    "white": (244, 244, 240),
}
BACKGROUNDS = ("plain", "gradient")
RADIUS = (9.0, 13.0)  # of the circle around the shape, pixels
TILT = 12.0  # largest rotation either way, degrees
LUMA = np.array([0.299, 0.587, 0.114])
VERSION = 1  # part of the request: increased when the images change

Floats = npt.NDArray[np.floating]
Outline = Callable[[Floats, Floats], Floats]
"""Signed distance, negative inside, of points in a circle of radius 1, y down."""


@dataclass(frozen=True)
class Truth:
    """The content of N images. Positions in pixels of a 32x32 image from the top left corner, colours in [0, 1]."""

    label: IntArray  # [N] index in CLASSES
    colour: IntArray  # [N] index in COLOURS
    rgb: Floats  # [N, 3] the colour as drawn
    centre: Floats  # [N, 2] x, y; the whole shape lies inside the image
    radius: Floats  # [N] pixels
    tilt: Floats  # [N] degrees
    background: IntArray  # [N] index in BACKGROUNDS
    ground: Floats  # [N, 2, 3] the two colours of the background
    direction: Floats  # [N] of the gradient, radians


def truth(seed: int, split: str, indices: npt.ArrayLike) -> Truth:
    """Returns the content of images `indices` ([N], >= 0) of a split, without drawing them."""
    indices = np.asarray(indices, dtype=np.int64)
    u = uniforms(seed, f"shapes-{split}", indices, 17)
    colour = (u[:, 0] * len(COLOURS)).astype(np.int64)
    base = np.array(list(COLOURS.values()))[colour] / 255
    rgb = np.clip(base + 0.1 * (u[:, 1:4] - 0.5), 0, 1)
    luma = rgb @ LUMA
    dark = np.where(np.abs(luma - 0.5) < 0.07, u[:, 4] < 0.5, luma > 0.5)  # the ground always differs in brightness
    radius = RADIUS[0] + (RADIUS[1] - RADIUS[0]) * u[:, 5]
    margin = radius[:, None] + 1
    return Truth(
        label=indices % len(CLASSES),
        colour=colour,
        rgb=rgb,
        centre=margin + (SIZE - 2 * margin) * u[:, 6:8],
        radius=radius,
        tilt=TILT * (2 * u[:, 8] - 1),
        background=(u[:, 9] * len(BACKGROUNDS)).astype(np.int64),
        ground=np.stack([_ground(u[:, 10:13], dark), _ground(u[:, 13:16], dark)], axis=1),
        direction=2 * math.pi * u[:, 16],
    )


def _ground(u: Floats, dark: npt.NDArray[np.bool_]) -> Floats:
    """Returns background colours [N, 3].

    u: [N, 3] in [0, 1), for hue, saturation and brightness; dark: [N], whether a colour is dark or light.
    """
    hue = np.clip(np.abs((6 * u[:, :1] + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    hue = np.where(dark[:, None], hue, 1 - hue)  # a light colour is white minus a little of the opposite hue
    amount = np.where(dark, 0.05 + 0.17 * u[:, 2], 0.04 + 0.18 * u[:, 2])[:, None]
    saturation = 0.6 * u[:, 1:2]
    colour = np.clip(amount * (1 - saturation + saturation * hue / (hue @ LUMA)[:, None]), 0, 1)
    return np.where(dark[:, None], colour, 1 - colour)


def render(
    scenes: Truth, outlines: Sequence[Outline] | None = None, size: int = SIZE, gray: bool = False
) -> npt.NDArray[np.uint8]:
    """Draws N images: uint8 [N, size, size, 3], or the luma of them [N, size, size, 1].

    outlines: by label; None: those of CLASSES.
    """
    scale = np.float32(size / SIZE)
    grid = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / scale
    x = grid[None, None, :] - scenes.centre[:, 0, None, None].astype(np.float32)  # [N, 1, size]
    y = grid[None, :, None] - scenes.centre[:, 1, None, None].astype(np.float32)  # [N, size, 1]
    share = _cover(scenes, x, y, scale, outlines)[..., None]
    images = _paint_ground(scenes, grid) * (1 - share) + scenes.rgb[:, None, None, :].astype(np.float32) * share
    if gray:
        images = images @ LUMA.astype(np.float32)[:, None]
    return np.rint(images * 255).astype(np.uint8)


def _cover(
    scenes: Truth, x: Floats, y: Floats, scale: np.float32 = ONE, outlines: Sequence[Outline] | None = None
) -> Floats:
    """Returns the part of each pixel that the shape covers, [N, size, size] in [0, 1].

    x, y: places of the pixels from the shape's centre; scale: pixels in their unit.
    """
    angle = np.deg2rad(scenes.tilt).astype(np.float32)[:, None, None]
    radius = scenes.radius.astype(np.float32)[:, None, None]
    u = (np.cos(angle) * x + np.sin(angle) * y) / radius
    v = (np.cos(angle) * y - np.sin(angle) * x) / radius
    distance = np.empty_like(u)
    outlines = outlines or [DISTANCES[name] for name in CLASSES]
    for label in np.unique(scenes.label):
        rows = scenes.label == label
        distance[rows] = outlines[label](u[rows], v[rows])
    return np.clip(0.5 - distance * radius * scale, 0, 1)


def _paint_ground(scenes: Truth, grid: Floats) -> Floats:
    """Draws the backgrounds, [N, size, size, 3] in [0, 1]. grid: places of the pixels."""
    along = scenes.direction.astype(np.float32)[:, None, None]
    x, y = grid[None, None, :] - SIZE / 2, grid[None, :, None] - SIZE / 2
    first = np.cos(along) * x + np.sin(along) * y
    patterns = [np.zeros_like(first), 0.5 + first / (SIZE * math.sqrt(2))]
    mix = np.choose(scenes.background[:, None, None], patterns)[..., None].astype(np.float32)
    ground = scenes.ground.astype(np.float32)[:, :, None, None, :]
    return ground[:, 0] * (1 - mix) + ground[:, 1] * mix


def polygon(corners: list[tuple[float, float]]) -> Outline:
    """Returns the signed distance to a closed polygon, negative inside. Source: I. Quilez, "2D distance functions"."""

    def distance(u: Floats, v: Floats) -> Floats:
        nearest = np.full_like(u, np.inf)
        inside = np.zeros(u.shape, dtype=bool)
        for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
            ex, ey, wx, wy = bx - ax, by - ay, u - ax, v - ay
            along = np.clip((wx * ex + wy * ey) / (ex * ex + ey * ey), 0, 1)
            nearest = np.minimum(nearest, (wx - along * ex) ** 2 + (wy - along * ey) ** 2)
            if ay != by:
                inside ^= ((ay > v) != (by > v)) & (wx < wy * (ex / ey))
        return np.where(inside, -1, 1) * np.sqrt(nearest)

    return distance


def _heart(u: Floats, v: Floats, a: float = 0.76) -> Floats:
    """Returns the signed distance to a heart: a square on its corner, with a half circle on each upper edge."""
    low = 1.1 * a
    square = polygon([(0, low), (-a, low - a), (0, low - 2 * a), (a, low - a)])(u, v)
    lobes = np.hypot(np.abs(u) - a / 2, v - (low - 1.5 * a)) - a / math.sqrt(2)
    return np.minimum(square, lobes)


def _spokes(radii: list[float]) -> list[tuple[float, float]]:
    """Returns corners at equal angles from the top, at these radii."""
    turn = 2 * math.pi / len(radii)
    return [(r * math.sin(i * turn), -r * math.cos(i * turn)) for i, r in enumerate(radii)]


_W, _L = 0.3, 0.93  # half width and length of the cross's arms
_CROSS = [(-_W, -_L), (_W, -_L), (_W, -_W), (_L, -_W), (_L, _W), (_W, _W), (_W, _L), (-_W, _L), (-_W, _W)]
_CROSS += [(-_L, _W), (-_L, -_W), (-_W, -_W)]
_ARROW = [(-0.95, -0.24), (0.05, -0.24), (0.05, -0.8), (1.0, 0.0), (0.05, 0.8), (0.05, 0.24), (-0.95, 0.24)]

DISTANCES: dict[str, Outline] = {
    "arrow": polygon(_ARROW),
    "circle": lambda u, v: np.hypot(u, v) - 0.88,
    "crescent": lambda u, v: np.maximum(np.hypot(u, v) - 0.95, 0.76 - np.hypot(u - 0.42, v)),
    "cross": polygon(_CROSS),
    "diamond": polygon([(0.0, -1.0), (0.58, 0.0), (0.0, 1.0), (-0.58, 0.0)]),
    "heart": _heart,
    "ring": lambda u, v: np.abs(np.hypot(u, v) - 0.71) - 0.22,
    "square": polygon([(-0.7, -0.7), (0.7, -0.7), (0.7, 0.7), (-0.7, 0.7)]),
    "star": polygon(_spokes([1.0, 0.42] * 5)),
    "triangle": polygon(_spokes([1.0] * 3)),
}


@dataclass(frozen=True)
class Shapes:
    """The source `shapes`: `count` drawn images, balanced over the selected classes."""

    count: PositiveInt = 20_000
    seed: int = 0
    size: Literal[32, 64, 128, 256] = 32
    """Height and width of the images, pixels."""
    channels: Literal["rgb", "gray"] = "rgb"
    """rgb: three channels; gray: one, the luma."""

    def offer(self, split: str, classes: tuple[str, ...] | None) -> Offer:
        """Describes the images without drawing them. See `Source`."""
        names = select_classes(CLASSES, classes)
        own = {"size": self.size, "channels": self.channels}
        changed = {name: value for name, value in own.items() if value not in (SIZE, "rgb")}  # older requests have none
        request = {"count": self.count, "seed": self.seed, "version": VERSION, **changed}
        channels: Literal[1, 3] = 1 if self.channels == "gray" else 3
        return Offer("shapes", self.size, names, request, lambda progress: self.images(split, names), channels)

    def images(self, split: str, names: tuple[str, ...]) -> SourceImages:
        """Returns the images of some classes, drawn when they are read."""
        number = np.arange(self.count)
        labels = number % len(names)
        classes = np.array([CLASSES.index(name) for name in names])
        keys = number // len(names) * len(CLASSES) + classes[labels]  # the image's index i

        def read(rows: IntArray) -> list[Pixels]:
            parts = np.array_split(rows, max(1, len(rows) * self.size**2 // DRAWN))
            return [image for part in parts for image in self._draw(truth(self.seed, split, keys[part]))]

        return SourceImages(keys, labels, read)

    def _draw(self, scenes: Truth) -> npt.NDArray[np.uint8]:
        return render(scenes, size=self.size, gray=self.channels == "gray")
