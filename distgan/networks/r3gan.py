"""The networks of R3GAN: Huang et al. 2024 (arXiv:2501.05441, section 4 and the appendix on the architecture).

One stage for each size, from 4x4 to full size: residual blocks without normalisation, whose last convolution starts at
zero. With the defaults, 32x32 images and 10 classes G has 20,781,952 parameters, D has 21,280,512; without classes
20,732,160 and 20,683,776. G has no tanh: values outside [-1, 1] are clipped when images become bytes.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distgan.config.networks import R3ganDiscriminator, R3ganGenerator, Resampling
from distgan.networks.classes import of_classes
from distgan.networks.dropout import KeyedDropout
from distgan.networks.layers import MIN_SIDE, check_stages
from distgan.utils.errors import ConfigError

LEAK = 0.2
GAIN = math.sqrt(2 / (1 + LEAK**2))  # keeps the variance through a leaky ReLU (He et al. 2015, arXiv:1502.01852)
CONVOLUTIONS = 3  # of a block
MAX_GROUP_WIDTH = 4096  # that an error suggests; a foreign file may contain any number


class Generator(nn.Module):
    """latents [B, L], labels [B] int64 or None -> images [B, channels, size, size], about in [-1, 1].

    Learnt 4x4 maps, each scaled by a linear function of the latent and the class's embedding, then the stages.
    """

    def __init__(self, config: R3ganGenerator, size: int, classes: int, channels: int = 3) -> None:
        super().__init__()
        _check("generator", config, size)
        widths, latent = config.widths, config.latent_dim
        self.embed = nn.Embedding(classes, latent) if config.conditional else None
        self.dense = nn.Linear(2 * latent if config.conditional else latent, widths[0], bias=False)
        self.basis = nn.Parameter(torch.empty(widths[0], MIN_SIDE, MIN_SIDE))
        layers = _blocks(config, widths[0])
        for before, width in pairwise(widths):
            layers += [*_change(before, width), Double(config.resampling), *_blocks(config, width)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], channels, 1, bias=False))
        nn.init.normal_(self.basis)
        _init(self)
        if self.embed is not None:
            nn.init.normal_(self.embed.weight, std=classes**-0.5)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.embed is not None:
            assert labels is not None, "a conditional generator needs labels"
            latents = torch.cat([latents, of_classes(self.embed.weight, labels)], dim=1)
        return self.layers(self.basis * self.dense(latents)[..., None, None])


class Discriminator(nn.Module):
    """images [B, channels, size, size], labels [B] int64 or None -> logits [B].

    G's stages in reverse; then a 4x4 map of weights per channel, and a dense layer. With classes that layer gives a
    vector, and the logit is its product with the class's embedding.
    """

    def __init__(self, config: R3ganDiscriminator, size: int, classes: int, channels: int = 3) -> None:
        super().__init__()
        _check("discriminator", config, size)
        if config.spectral_norm:
            raise ConfigError(
                "discriminator.spectral_norm=true divides weights by their largest singular value, and r3gan's blocks "
                "begin with weights of zero; use discriminator.spectral_norm=false, or family=sngan"
            )
        widths = config.widths[::-1]
        last = widths[-1]
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 1, bias=False), *_blocks(config, widths[0])]
        for before, width in pairwise(widths):
            layers += [Halve(config.resampling), *_change(before, width), *_blocks(config, width)]
        layers += [nn.Conv2d(last, last, MIN_SIDE, groups=last, bias=False), nn.Flatten(), KeyedDropout(config.dropout)]
        self.layers = nn.Sequential(*layers)
        self.dense = nn.Linear(last, last if config.conditional else 1, bias=False)
        self.embed = nn.Embedding(classes, last) if config.conditional else None
        _init(self)
        if self.embed is not None:
            nn.init.normal_(self.embed.weight, std=(classes * last) ** -0.5)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        logits = self.dense(self.layers(images))
        if self.embed is not None:
            assert labels is not None, "a conditional discriminator needs labels"
            logits = logits * self.embed(labels)
        return logits.sum(1)


class Double(nn.Module):
    """[B, C, H, W] -> [B, C, 2H, 2W], bilinear. binomial: with zeros outside the image; box: with its edge pixels."""

    def __init__(self, resampling: Resampling) -> None:
        super().__init__()
        self.margin = 1 if resampling == "binomial" else 0

    def forward(self, x: Tensor) -> Tensor:
        wide = F.pad(x, [self.margin] * 4)
        doubled = F.interpolate(wide, scale_factor=2, mode="bilinear", align_corners=False)
        return F.pad(doubled, [-2 * self.margin] * 4)


class Halve(nn.Module):
    """[B, C, H, W] -> [B, C, H / 2, W / 2]. binomial: by [1, 3, 3, 1] / 8 each way, with zeros outside the image; box:
    the mean of four pixels."""

    def __init__(self, resampling: Resampling) -> None:
        super().__init__()
        self.binomial = resampling == "binomial"

    def forward(self, x: Tensor) -> Tensor:
        if self.binomial:  # [1, 3, 3, 1] is [1, 1] three times
            x = F.avg_pool2d(F.avg_pool2d(F.pad(x, [1] * 4), 2, stride=1), 2, stride=1)
        return F.avg_pool2d(x, 2)


class Block(nn.Module):
    """[B, C, H, W] -> the same shape: 1x1, leaky ReLU, grouped 3x3, leaky ReLU, 1x1, added to the input."""

    def __init__(self, width: int, inner: int, groups: int) -> None:
        super().__init__()
        self.widen = nn.Conv2d(width, inner, 1)
        self.mix = nn.Conv2d(inner, inner, 3, padding=1, groups=groups)
        self.narrow = nn.Conv2d(inner, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.widen(x), LEAK)
        y = F.leaky_relu(self.mix(y), LEAK)
        return x + self.narrow(y)


def _blocks(config: R3ganGenerator | R3ganDiscriminator, width: int) -> list[nn.Module]:
    inner = width * config.expansion
    return [Block(width, inner, inner // config.group_width) for _ in range(config.blocks)]


def _change(before: int, width: int) -> list[nn.Module]:
    """A 1x1 convolution if the number of channels changes."""
    return [] if before == width else [nn.Conv2d(before, width, 1, bias=False)]


def _init(network: nn.Module) -> None:
    """Sets normal weights that keep the variance; fix-up scales them down in blocks, and zeroes a block's last layer.

    Source: Zhang et al. 2019, arXiv:1901.09321: the scale is blocks**(-1 / (2m - 2)) with m layers in a block.
    """
    blocks = [module for module in network.modules() if isinstance(module, Block)]
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            _normal(module, 1.0)
    for block in blocks:
        for layer in (block.widen, block.mix):
            _normal(layer, GAIN * len(blocks) ** (-1 / (2 * CONVOLUTIONS - 2)))
        nn.init.zeros_(block.narrow.weight)


def _normal(layer: nn.Linear | nn.Conv2d, gain: float) -> None:
    """Sets normal weights of deviation gain / sqrt(inputs of one output), and a zero bias."""
    nn.init.normal_(layer.weight, std=gain / math.sqrt(math.prod(layer.weight.shape[1:])))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _check(player: str, config: R3ganGenerator | R3ganDiscriminator, size: int) -> None:
    """Raises ConfigError unless the stages fit the size and the groups fit the channels."""
    check_stages(f"{player}.widths", "r3gan", len(config.widths), size)
    common = math.gcd(*config.widths) * config.expansion
    if common % config.group_width:
        most = min(config.group_width, common, MAX_GROUP_WIDTH)
        nearest = next(number for number in range(most, 0, -1) if common % number == 0)
        raise ConfigError(
            f"{player}.group_width={config.group_width} does not divide the channels of every stage's grouped "
            f"convolutions (widths times expansion), multiples of {common}; use {player}.group_width={nearest}"
        )
