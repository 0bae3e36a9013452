"""The ResNets of Miyato et al. 2018 (arXiv:1802.05957, appendix B.4, tables 4 to 6); classes: Miyato & Koyama 2018.

Images of 4 * 2**n pixels a side. With one width, as in table 4 for 32x32 images: in G n blocks double the size; in D
n - 1 blocks halve it to 8x8, and two more follow. With a width for each size, as in table 6 for 128x128 images: in G n
blocks double the size; in D n blocks halve it to 4x4, and one more follows.
With the defaults and 32x32 images G has 4,276,739 parameters, D has 1,053,825.
Biases before a normalisation are part of the paper's count, but have no effect: only rounding errors reach them as
gradients. A 1x1 convolution commutes with a change of size, so it runs on the smaller maps, at a quarter of the work.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from distgan.config.networks import SnganDiscriminator, SnganGenerator
from distgan.networks.batch_norm import batch_norm
from distgan.networks.layers import MIN_SIDE, Head, check_stages, glorot, halvings

RESIDUAL_GAIN = math.sqrt(2)  # of a block's convolutions, except on its shortcut


class Generator(nn.Module):
    """latents [B, L], labels [B] int64 or None -> images [B, channels, size, size] in [-1, 1]."""

    def __init__(self, config: SnganGenerator, size: int, classes: int, channels: int = 3) -> None:
        super().__init__()
        steps = halvings("generator.family=sngan", size, minimum=1)
        widths = (config.width,) * (steps + 1) if isinstance(config.width, int) else config.width
        check_stages("generator.width", "sngan", len(widths), size)
        classes = classes if config.conditional else 0
        self.dense = nn.Linear(config.latent_dim, widths[0] * MIN_SIDE**2)
        self.blocks = nn.ModuleList(UpBlock(before, width, classes) for before, width in pairwise(widths))
        self.norm = batch_norm(widths[-1], 0)
        self.to_rgb = _conv(widths[-1], channels, 3)
        glorot(self.dense)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.dense(latents).unflatten(1, (-1, MIN_SIDE, MIN_SIDE))
        for block in self.blocks:
            x = block(x, labels)
        return self.to_rgb(F.relu(self.norm(x))).tanh()


class Discriminator(nn.Module):
    """images [B, channels, size, size] in [-1, 1], labels [B] int64 or None -> logits [B]."""

    def __init__(self, config: SnganDiscriminator, size: int, classes: int, channels: int = 3) -> None:
        super().__init__()
        steps = halvings("discriminator.family=sngan", size, minimum=2)
        one = isinstance(config.width, int)
        widths = (config.width,) * (steps + 1) if isinstance(config.width, int) else config.width[::-1]
        check_stages("discriminator.width", "sngan", len(widths), size)
        halved = steps - 1 if one else steps  # by so many blocks; the others keep the size
        down = [DownBlock(before, width, nn.ReLU()) for before, width in pairwise(widths[:halved])]
        plain = [PlainBlock(before, width) for before, width in pairwise(widths[halved - 1 :])]
        self.blocks = nn.Sequential(DownBlock(channels, widths[0], nn.Identity()), *down, *plain, nn.ReLU())
        self.head = Head(widths[-1], classes if config.conditional else 0, config.dropout)
        self.head.apply(glorot)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.head(self.blocks(images).sum((2, 3)), labels)


class UpBlock(nn.Module):
    """[B, before, H, W], labels -> [B, width, 2H, 2W].

    Norm, ReLU, nearest upsampling, 3x3, norm, ReLU, 3x3; shortcut: 1x1.
    """

    def __init__(self, before: int, width: int, classes: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = batch_norm(before, classes), batch_norm(width, classes)
        self.conv1, self.conv2 = (_conv(inner, width, 3, RESIDUAL_GAIN) for inner in (before, width))
        self.shortcut = _conv(before, width, 1)

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        y = self.conv1(_double(F.relu(self.norm1(x, labels))))
        y = self.conv2(F.relu(self.norm2(y, labels)))
        return y + _double(self.shortcut(x))


class DownBlock(nn.Module):
    """[B, before, H, W] -> [B, width, H/2, W/2]: `first`, 3x3, ReLU, 3x3, mean of 2x2; shortcut: 1x1.

    first: ReLU, or Identity if the input are images: then the first convolution changes the channels, else the second.
    """

    def __init__(self, before: int, width: int, first: nn.Module) -> None:
        super().__init__()
        inner = width if isinstance(first, nn.Identity) else before
        into, onward = _conv(before, inner, 3, RESIDUAL_GAIN), _conv(inner, width, 3, RESIDUAL_GAIN)
        self.residual = nn.Sequential(first, into, nn.ReLU(), onward, nn.AvgPool2d(2))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), _conv(before, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x) + self.shortcut(x)


class PlainBlock(nn.Module):
    """[B, before, H, W] -> [B, width, H, W]: ReLU, 3x3, ReLU, 3x3; shortcut: the input, 1x1 if the width changes."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        convs = [_conv(before, inner, 3, RESIDUAL_GAIN) for inner in (before, width)]
        self.residual = nn.Sequential(nn.ReLU(), convs[0], nn.ReLU(), convs[1])
        self.shortcut = nn.Identity() if before == width else _conv(before, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.residual(x)


def _conv(channels: int, width: int, kernel: int, gain: float = 1.0) -> nn.Conv2d:
    """A convolution that keeps height and width."""
    conv = nn.Conv2d(channels, width, kernel, padding=kernel // 2)
    glorot(conv, gain)
    return conv


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2)  # nearest
