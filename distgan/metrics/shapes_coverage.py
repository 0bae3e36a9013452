"""Coverage of the embedded shapes by a generator's images, which are recognised from their pixels without a network.

In: uint8 images of 32x32, or of a multiple of it, which are first made 32x32. Out: the shape in each image and how well
it fits (`recognise`), and the shares of classes, colours and positions in a set of images (`coverage`). Recognition
reverses data/sources/shapes.py: it finds background, colour and the covered share of each pixel, draws the shape again,
and compares the two images (`fit`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from distgan.data.sources.shapes import CLASSES, COLOURS, DISTANCES, LUMA, RADIUS, SIZE, TILT, truth
from distgan.utils.counter_rng import IntArray

RECOGNISED = 0.93  # lowest `fit` of an image whose class counts; 96 of 100 blends of two images have less
SHARP = 0.97  # lowest `fit` of a sharp image: reached by all real images after a blur of 0.8 pixels, by 40 % after 1.2
FAIR_SHARE = 0.25  # lowest share of a covered class, colour or cell, relative to its share in real images
MIN_ENERGY = 2.0  # squared colour differences, summed over an image; with less there is no shape to recognise
CORE = 32  # pixels that give the shape's colour; the smallest shape has about 100
CELLS = (14.0, 18.0)  # pixels: borders of the 3x3 cells of the centres, which are all in 10 ... 22
BLOCK = 500  # images at a time
SIDE, REACH = 24, 2.2  # pixels of a template's side, and half its width in radii of a disc of the same area
TILTS = np.arange(-TILT, TILT + 1, 1.5)

Floats = npt.NDArray[np.floating]
Images = Tensor | npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Recognised:
    """The most likely shapes in N images; reliable where `fit` is at least RECOGNISED."""

    label: IntArray  # [N] index in shapes.CLASSES
    fit: Floats  # [N] in [0, 1]
    colour: IntArray  # [N] index in shapes.COLOURS
    centre: Floats  # [N, 2] x, y in pixels from the top left corner
    radius: Floats  # [N] pixels

    @property
    def sure(self) -> npt.NDArray[np.bool_]:
        """Whether each image counts as recognised, [N]."""
        return self.fit >= RECOGNISED

    @property
    def cell(self) -> IntArray:
        """Number of the 3x3 cell that holds the centre, [N] in 0 ... 8, row by row."""
        return _cells(self.centre)


def recognise(images: Images) -> Recognised:
    """Recognises the shape in each image, independently. images: uint8 [N, 3, size, size] on the CPU, N >= 1.

    size: 32 or a multiple of it; of larger images, 32x32 means are recognised. Positions are in pixels of 32x32.

    fit = 2 <R, S> / max(|R|^2 + |S|^2, MIN_ENERGY), clipped to [0, 1]. R is the image minus its background (a plane
    through the outermost pixels, per channel); S is the recognised shape, drawn in its position and colour, minus the
    same background. Equal pixels give 1, an image without a shape gives 0. A shape whose size real images do not have
    is compared with the nearest size that they have.
    """
    pixels = np.asarray(images)
    parts = [_recognise(pixels[start : start + BLOCK]) for start in range(0, len(pixels), BLOCK)]
    return Recognised(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Recognised)))


def coverage(images: Images, labels: Tensor | IntArray | None = None) -> dict[str, float]:
    """Scores of a set of images, as in `recognise`; all but the first two use the recognised images only.

    shapes_recognised: share of the images with a fit of at least RECOGNISED.
    shapes_sharp: share of the images with a fit of at least SHARP; shapes with long outlines (cross, star, arrow) reach
    it less easily.
    shapes_classes: number of the 10 classes with at least FAIR_SHARE of their share in real images (1/10).
    shapes_colours: number of the 10 colours with at least FAIR_SHARE of their share in real images (1/10).
    shapes_places: share of the 3x3 cells with at least FAIR_SHARE of their share in real images.
    shapes_balance: entropy of the classes' shares, divided by log 10: 1 for equal shares, 0 for a single class.
    shapes_right_class: share of all images that are recognised as the requested class; only with labels (int64 [N],
    the requested classes as indices of shapes.CLASSES).

    If no image is recognised, all scores are 0. A class may be missing by chance in few images: use 1,000 or more.
    """
    found = recognise(images)
    sure = found.sure
    classes = _shares(found.label[sure], len(CLASSES))
    colours = _shares(found.colour[sure], len(COLOURS))
    cells = _shares(found.cell[sure], 9)
    seen = classes[classes > 0]
    scores = {
        "shapes_recognised": float(sure.mean()),
        "shapes_sharp": float((found.fit >= SHARP).mean()),
        "shapes_classes": float((classes >= FAIR_SHARE / len(CLASSES)).sum()),
        "shapes_colours": float((colours >= FAIR_SHARE / len(COLOURS)).sum()),
        "shapes_places": float((cells >= FAIR_SHARE * _real_cells()).mean()),
        "shapes_balance": float(-(seen * np.log(seen)).sum() / np.log(len(CLASSES))) + 0.0,  # not -0.0
    }
    if labels is not None:
        scores["shapes_right_class"] = float((sure & (found.label == np.asarray(labels))).mean())
    return scores


def _shares(numbers: IntArray, kinds: int) -> Floats:
    return np.bincount(numbers, minlength=kinds) / max(len(numbers), 1)


@cache
def _real_cells() -> Floats:
    """Shares of the cells in real images, [9]."""
    return _shares(_cells(truth(0, "cells", np.arange(10_000)).centre), 9)


def _cells(centre: Floats) -> IntArray:
    column, row = np.digitize(centre, CELLS).T
    return 3 * row + column


def _recognise(pixels: npt.NDArray[np.uint8]) -> Recognised:
    images = _small(pixels).reshape(len(pixels), 3, SIZE * SIZE).astype(np.float32) / 255
    background = images[:, :, _RING] @ _PLANE
    shape = images - background  # R
    colour = _core_colour(images, shape)
    contrast = colour[:, :, None] - background
    share = np.clip((shape * contrast).sum(1) / np.maximum((contrast**2).sum(1), 1e-6), 0, 1)
    mask = np.clip((share - 0.15) / 0.7, 0, 1)  # keeps edges in place, and removes faint traces in the background
    area = np.maximum(mask.sum(1), 1)
    centroid = mask @ _GRID / area[:, None]
    label, tilt = _nearest_template(mask, centroid, np.sqrt(area / np.pi))
    unit_area, unit_centroid = (values[label] for values in _moments())
    radius = np.clip(np.sqrt(area / unit_area), *RADIUS)
    cos, sin = np.cos(np.deg2rad(tilt)), np.sin(np.deg2rad(tilt))
    x, y = unit_centroid.T
    centre = centroid - radius[:, None] * np.stack([cos * x - sin * y, sin * x + cos * y], axis=1)
    drawn = contrast * _draw(label, tilt, centre, radius)[:, None, :]  # S
    overlap, energy = (shape * drawn).sum((1, 2)), (shape**2).sum((1, 2)) + (drawn**2).sum((1, 2))
    names = np.array(list(COLOURS.values())) / 255
    nearest = ((colour[:, None, :] - names) ** 2).sum(2).argmin(1)
    return Recognised(label, np.clip(2 * overlap / np.maximum(energy, MIN_ENERGY), 0, 1), nearest, centre, radius)


def _small(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    """The images as 32x32: means of squares of pixels, or the images themselves."""
    times = pixels.shape[-1] // SIZE
    if times == 1:
        return pixels
    return pixels.reshape(-1, 3, SIZE, times, SIZE, times).mean((3, 5), dtype=np.float32)


def _core_colour(images: Floats, shape: Floats) -> Floats:
    """The median colour of the CORE pixels whose brightness differs most from the background, [N, 3]."""
    far = np.abs(np.einsum("c,ncp->np", LUMA.astype(np.float32), shape))
    core = np.argpartition(far, -CORE, axis=1)[:, -CORE:]
    return np.median(np.take_along_axis(images, core[:, None, :], axis=2), axis=2)


def _nearest_template(mask: Floats, centroid: Floats, scale: Floats) -> tuple[IntArray, Floats]:
    """Class [N] and tilt [N], degrees, of the template with the highest correlation.

    mask: [N, 1024]. It is sampled around `centroid` [N, 2] in units of `scale` [N], so position and size do not matter.
    """
    frame = torch.from_numpy(centroid[:, None, :] + scale[:, None, None] * _FRAME)
    grid = (2 / SIZE * frame - 1).float().unflatten(1, (SIDE, SIDE))
    field = torch.from_numpy(mask).float().view(-1, 1, SIZE, SIZE)
    seen = grid_sample(field, grid, align_corners=False).flatten(1).numpy()
    best = (seen @ _templates().T).argmax(1)
    return best // len(TILTS), TILTS[best % len(TILTS)]


def _draw(label: IntArray, tilt: Floats, centre: Floats, radius: Floats) -> Floats:
    """The share of each pixel that the shape covers, [N, 1024]."""
    u, v = _unit(_GRID - centre[:, None, :], tilt[:, None], radius[:, None])
    distance = np.empty_like(u)
    for number in np.unique(label):
        here = label == number
        distance[here] = DISTANCES[CLASSES[number]](u[here], v[here])
    return np.clip(0.5 - distance * radius[:, None], 0, 1)


def _unit(offset: Floats, tilt: Floats, radius: Floats) -> tuple[Floats, Floats]:
    """Offsets [..., 2] from a shape's centre, turned and scaled to the coordinates of DISTANCES."""
    cos, sin = np.cos(np.deg2rad(tilt)), np.sin(np.deg2rad(tilt))
    x, y = offset[..., 0], offset[..., 1]
    return (cos * x + sin * y) / radius, (cos * y - sin * x) / radius


def _square(side: int, reach: float) -> Floats:
    """x and y of the cells of a grid over -reach ... reach, row by row, [side * side, 2]."""
    line = (np.arange(side) + 0.5) * (2 * reach / side) - reach
    return np.stack([np.tile(line, side), np.repeat(line, side)], axis=1)


@cache
def _moments() -> tuple[Floats, Floats]:
    """Area [10] and centroid [10, 2] of each class at radius 1."""
    fine = _square(400, 1.2)
    inside = np.stack([DISTANCES[name](*fine.T) < 0 for name in CLASSES])
    return inside.sum(1) * (2.4 / 400) ** 2, inside @ fine / inside.sum(1)[:, None]


@cache
def _templates() -> npt.NDArray[np.float32]:
    """Masks of the classes as `_nearest_template` samples them, each of length 1, [10 * tilts, SIDE * SIDE]."""
    mean = sum(RADIUS) / 2
    bank = []
    for name, area, centroid in zip(CLASSES, *_moments(), strict=True):
        for tilt in TILTS:
            u, v = _unit(_FRAME * np.sqrt(area / np.pi), np.array(tilt), np.array(1.0))
            bank.append(np.clip(0.5 - mean * DISTANCES[name](u + centroid[0], v + centroid[1]), 0, 1))
    templates = np.stack(bank)
    return (templates / np.linalg.norm(templates, axis=1, keepdims=True)).astype(np.float32)


_GRID = _square(SIZE, SIZE / 2) + SIZE / 2
_FRAME = _square(SIDE, REACH)
_RING = np.flatnonzero((np.abs(_GRID - SIZE / 2) > SIZE / 2 - 1).any(axis=1))  # shapes never reach the outermost pixels
_AFFINE = np.concatenate([np.ones((SIZE * SIZE, 1)), _GRID], axis=1)
_PLANE = (_AFFINE @ np.linalg.pinv(_AFFINE[_RING])).T.astype(np.float32)  # values on the ring -> least squares plane
