"""Differentiable augmentation of what D sees, reals and fakes alike, so that D does not learn few images by heart.

In: images, and one row of random numbers for each; the caller draws them (utils/rng.py), so an image's augmentation
depends on its own row only. Out: augmented images, float32 or float64, and ADA's next probability. Nothing here waits
for the device.

`diff_augment`: Zhao et al. 2020, arXiv:2006.10738. `ada_augment`: Karras et al. 2020, arXiv:2006.06676, appendix B;
the decision there is simple resampling: bilinear, without the paper's wavelet filters, and without its image-space
filters and corruptions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from distgan.config.method import AUGMENTATIONS, Ada, AugmentConfig, DiffAugment
from distgan.config.schedule import at
from distgan.training.grid_sample import grid_sample
from distgan.utils.rng import Draws

DIFF_UNIFORMS = 7  # numbers per image that diff_augment takes: colour 3, translation 2, cutout 2
ADA_UNIFORMS = 21  # ... that ada_augment takes: one for each of 13 decisions, 8 more
ADA_NORMALS = 7
TRANSLATION = 1 / 8  # largest shift by whole pixels, standard deviation of ADA's others: shares of the image's side
CUTOUT = 1 / 2  # side of the square that is cut out, as a share of the image's side


def diff_augment(images: Tensor, uniform: Tensor, policy: Sequence[str]) -> Tensor:
    """`color`, `translation` and `cutout`, in the order of `policy`.

    images: [B, C, H, W] in [-1, 1], square; uniform: [B, DIFF_UNIFORMS] in [0, 1). Where an image is moved or cut, it
    becomes 0. Can be differentiated twice, as a gradient penalty needs. Raises KeyError for another name.
    """
    with torch.autocast(images.device.type, enabled=False):
        images, uniform = _precise(images, uniform)
        for name in policy:
            step, columns = _DIFF[name]
            images = step(images, uniform[:, columns])
    return images


def ada_augment(images: Tensor, uniform: Tensor, normal: Tensor, p: Tensor, policy: Sequence[str]) -> Tensor:
    """The groups `blit`, `geometry` and `color`, in this order; each of their steps is applied with probability p.

    images: [B, C, H, W] in [-1, 1], square; uniform: [B, ADA_UNIFORMS] in [0, 1); normal: [B, ADA_NORMALS], standard
    normal; p: scalar in [0, 1] on their device. An image is continued by its mirror image. An image for which no
    step is drawn comes back bit for bit. Colours may leave [-1, 1]. Can be differentiated twice, as a gradient penalty
    needs.
    """
    with torch.autocast(images.device.type, enabled=False):
        images, uniform, normal, p = _precise(images, uniform, normal, p)
        drawn, how = uniform[:, :11] < p, uniform[:, 13:]
        turned = uniform[:, 11:13] < 1 - (1 - p).sqrt()  # two rotations: one or both with probability p
        if "blit" in policy:
            images = _ada_blit(images, drawn[:, 0:3], how[:, 0:4])
        if "geometry" in policy:
            images = _ada_geometry(images, drawn[:, 3:6], turned, how[:, 4:6], normal[:, 0:4])
        if "color" in policy:
            images = _ada_color(images, drawn[:, 6:11], how[:, 6:8], normal[:, 4:7])
    return images


def next_p(p: Tensor, mean_sign: Tensor, target: float, images: int, speed_images: float) -> Tensor:
    """ADA's probability after `images` more real images: up where D is too sure of the reals, else down.

    p: scalar in [0, 1]; mean_sign: scalar, mean over real images, since the last time, of the sign of D's logits
    (positive: real), r_t in the paper's section 3; speed_images: images in which p can go from 0 to 1.
    """
    step = images / speed_images
    return (p + torch.where(mean_sign > target, step, -step)).clamp(0, 1)


def _precise(images: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """All in float64 where the images are, else in float32."""
    dtype = torch.promote_types(images.dtype, torch.float32)
    return tuple(tensor.to(dtype) for tensor in (images, *others))


def _whole(uniform: Tensor, count: int) -> Tensor:
    """0 ... count - 1, each as likely, of the same type."""
    return (uniform * count).floor()


def _choose(here: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Image by image: `new` where `here` [B] is true, else `old`."""
    return torch.where(here[:, None, None, None], new, old)


def _pick(images: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """These columns and rows [B, n] of each image."""
    channels = images.shape[1]
    images = images.gather(2, rows[:, None, :, None].expand(-1, channels, -1, images.shape[3]))
    return images.gather(3, columns[:, None, None, :].expand(-1, channels, rows.shape[1], -1))


def _diff_color(images: Tensor, uniform: Tensor) -> Tensor:
    """Brightness + [-0.5, 0.5), saturation x [0, 2), contrast x [0.5, 1.5)."""
    brightness, saturation, contrast = uniform[:, :, None, None, None].unbind(1)
    images = images + (brightness - 0.5)
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * (2 * saturation)
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * (contrast + 0.5)


def _diff_translation(images: Tensor, uniform: Tensor) -> Tensor:
    """Shifted by whole pixels, x and y each."""
    side = images.shape[-1]
    reach = int(side * TRANSLATION + 0.5)
    shift = _whole(uniform, 2 * reach + 1).long()[:, :, None]  # 0: by -reach
    columns, rows = (torch.arange(side, device=images.device) + 2 * reach - shift).unbind(1)
    return _pick(F.pad(images, [reach] * 4), columns, rows)


def _diff_cutout(images: Tensor, uniform: Tensor) -> Tensor:
    """Without a square whose centre lies anywhere in the image."""
    side = images.shape[-1]
    size = int(side * CUTOUT + 0.5)
    first = _whole(uniform, side + 1 - size % 2)[:, :, None] - size // 2
    line = torch.arange(side, device=images.device)
    columns, rows = ((line >= first) & (line < first + size)).unbind(1)
    return images.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0)


_DIFF: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], slice]] = {
    "color": (_diff_color, slice(0, 3)),
    "translation": (_diff_translation, slice(3, 5)),
    "cutout": (_diff_cutout, slice(5, 7)),
}


def _ada_blit(images: Tensor, drawn: Tensor, uniform: Tensor) -> Tensor:
    """Mirrored left to right, turned by quarters, shifted by whole pixels; exact. drawn [B, 3], uniform [B, 4]."""
    side = images.shape[-1]
    mirrored = drawn[:, 0] & (uniform[:, 0] < 0.5)
    quarters = drawn[:, 1] * _whole(uniform[:, 1], 4)
    shift = drawn[:, 2:] * ((2 * uniform[:, 2:] - 1) * TRANSLATION * side).round()
    images = _choose(mirrored, images.flip(3), images)
    images = _choose(quarters % 2 == 1, images.transpose(2, 3), images)
    images = _choose((quarters - 1.5).abs() < 1, images.flip(2), images)  # one or two quarters
    images = _choose(quarters >= 2, images.flip(3), images)
    place = torch.arange(side, device=images.device) - shift[:, :, None]  # outside, the mirror image: -1 is 0
    inside = side - 0.5 - ((place + 0.5).abs() - side).abs()
    columns, rows = inside.long().unbind(1)
    return _pick(images, columns, rows)


def _ada_geometry(images: Tensor, drawn: Tensor, turned: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
    """Scaled, turned, stretched, turned, shifted. drawn [B, 3], turned [B, 2], uniform [B, 2], normal [B, 4]."""
    zoom, stretch = torch.exp2(0.2 * drawn[:, :2] * normal[:, :2]).unbind(1)
    angles = turned * math.pi * (2 * uniform - 1)
    (c1, c2), (s1, s2) = angles.cos().unbind(1), angles.sin().unbind(1)
    wide, high = 1 / (zoom * stretch), stretch / zoom
    # Where a place of the new image lies in the old one, in coordinates from -1 to 1: all of it backwards.
    xx, xy = c1 * wide * c2 - s1 * high * s2, c1 * wide * s2 + s1 * high * c2
    yx, yy = -s1 * wide * c2 - c1 * high * s2, c1 * high * c2 - s1 * wide * s2
    x, y = (drawn[:, 2:] * normal[:, 2:] * (2 * TRANSLATION)).unbind(1)
    matrix = torch.stack([xx, xy, -xx * x - xy * y, yx, yy, -yx * x - yy * y], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return _choose(drawn.any(1) | turned.any(1), grid_sample(images, grid), images)


def _ada_color(images: Tensor, drawn: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
    """Brightness, contrast, luma flip, hue, saturation. drawn [B, 5], uniform [B, 2], normal [B, 3].

    Each of them keeps grey apart from what a pixel has besides it, in the plane across (1, 1, 1): so all together are
    a line on the grey, and a factor and a rotation in the plane.
    """
    brightness = 0.2 * drawn[:, 0] * normal[:, 0]
    contrast = torch.exp2(0.5 * drawn[:, 1] * normal[:, 1])
    grey_factor = torch.where(drawn[:, 2] & (uniform[:, 0] < 0.5), -contrast, contrast)
    hue = drawn[:, 3] * math.pi * (2 * uniform[:, 1] - 1)
    factor = contrast * torch.exp2(drawn[:, 4] * normal[:, 2])
    numbers = torch.stack([brightness, grey_factor, factor * hue.cos(), factor * hue.sin() / math.sqrt(3)], dim=1)
    brightness, grey_factor, along, across = numbers[:, :, None, None, None].unbind(1)
    grey = images.mean(1, keepdim=True)
    rest = images - grey
    turned = along * rest + across * (rest.roll(1, 1) - rest.roll(-1, 1))
    return _choose(drawn.any(1), grey_factor * (grey + brightness) + turned, images)


class Augmentation(Protocol):
    """A transformation of images by random numbers of their own."""

    uniforms: int
    normals: int

    def __call__(self, images: Tensor, uniform: Tensor, normal: Tensor, p: Tensor) -> Tensor:
        """Augmented images, [B, C, H, W].

        images: [B, C, H, W] in [-1, 1]; uniform: [B, uniforms] in [0, 1); normal: [B, normals]; p: a scalar.
        """


class DiffAugmentation:
    """`diff_augment` with the configured policy."""

    uniforms, normals = DIFF_UNIFORMS, 0

    def __init__(self, config: DiffAugment) -> None:
        self.policy = config.policy

    def __call__(self, images: Tensor, uniform: Tensor, normal: Tensor, p: Tensor) -> Tensor:
        return diff_augment(images, uniform, self.policy)


class AdaAugmentation:
    """`ada_augment` with the configured policy."""

    uniforms, normals = ADA_UNIFORMS, ADA_NORMALS

    def __init__(self, config: Ada) -> None:
        self.policy = config.policy

    def __call__(self, images: Tensor, uniform: Tensor, normal: Tensor, p: Tensor) -> Tensor:
        return ada_augment(images, uniform, normal, p, self.policy)


def no_augmentation(_config: object) -> None:
    """No augmentation."""


class Augmenter:
    """Applies the configured augmentation. Attribute: p, probability of each of ADA's transformations, a scalar tensor.

    A controller moves p (controllers/ada.py).
    """

    def __init__(self, config: AugmentConfig, device: torch.device) -> None:
        self._augmentation = cast("Augmentation | None", AUGMENTATIONS.build(config))
        self.p = torch.tensor(at(config.p, 0) if isinstance(config, Ada) else 0.0, device=device)

    def __call__(self, images: Tensor, *draws: Draws) -> Tensor:
        """Augmented images, [B, C, H, W].

        images: [B, C, H, W] in [-1, 1]; draws: random numbers of their rows, one set after another; the lengths add up
        to B.
        """
        if (augmentation := self._augmentation) is None:
            return images
        uniform = torch.cat([draw.uniform([augmentation.uniforms]) for draw in draws])
        normal = images.new_empty(len(images), 0)
        if augmentation.normals:
            normal = torch.cat([draw.of(f"{draw.purpose}/normal").normal([augmentation.normals]) for draw in draws])
        return augmentation(images, uniform, normal, self.p)
