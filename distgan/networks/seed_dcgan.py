"""The seed recipe's networks (the DCGAN of a Keras book chapter), at any width, depth, latent size and image size.

With the configuration's defaults, 32x32 images and no classes: G has 6,264,579 parameters, D has 790,913.
Keras' defaults are set explicitly: LeakyReLU slope 0.3, Glorot-uniform kernels, zero biases.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distgan.config.networks import SeedDiscriminator, SeedGenerator
from distgan.networks.classes import as_weights
from distgan.networks.dropout import KeyedDropout
from distgan.networks.layers import glorot
from distgan.utils.errors import ConfigError

LEAK = 0.3


class Generator(nn.Module):
    """latents [B, L], labels [B] int64 or None -> images [B, channels, size, size] in [-1, 1]."""

    def __init__(self, config: SeedGenerator, size: int, classes: int, channels: int = 3) -> None:
        super().__init__()
        scale = 2**config.upsamples
        if size % scale:
            nearest = max(round(size / scale), 1) * scale
            raise ConfigError(
                f"generator.upsamples={config.upsamples} makes sizes that are multiples of {scale}, the images are "
                f"{size}x{size}; use fewer upsamples, or images of {nearest}x{nearest}"
            )
        self.latent_dim = config.latent_dim
        self.classes = classes if config.conditional else 0
        self.stem_shape = (config.stem_channels, size // scale, size // scale)
        width = config.width
        self.dense = nn.Linear(config.latent_dim + self.classes, config.stem_channels * (size // scale) ** 2)
        layers: list[nn.Module] = [nn.Conv2d(config.stem_channels, width, 5, padding=2), nn.LeakyReLU(LEAK)]
        for _ in range(config.upsamples):
            layers += [nn.ConvTranspose2d(width, width, 4, stride=2, padding=1), nn.LeakyReLU(LEAK)]
        for _ in range(config.depth):
            layers += [nn.Conv2d(width, width, 5, padding=2), nn.LeakyReLU(LEAK), KeyedDropout(config.dropout)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, channels, 7, padding=3), nn.Tanh())
        self.apply(glorot)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.classes:
            assert labels is not None, "a conditional generator needs labels"
            latents = torch.cat([latents, as_weights(labels, self.classes, latents.dtype)], dim=1)
        stem = F.leaky_relu(self.dense(latents), LEAK)
        return self.layers(stem.view(-1, *self.stem_shape))


class Discriminator(nn.Module):
    """images [B, channels, size, size] in [-1, 1], labels [B] int64 or None -> logits [B]."""

    def __init__(self, config: SeedDiscriminator, size: int, classes: int, channels: int = 3) -> None:
        super().__init__()
        if config.downsamples > (limit := _max_downsamples(size)):
            raise ConfigError(
                f"discriminator.downsamples={config.downsamples} is too many for {size}x{size} images; "
                + (f"use {limit} or fewer" if limit else "use images of 6x6 or more")
            )
        width, side = config.width, size - 2
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3), nn.LeakyReLU(LEAK)]
        for _ in range(config.downsamples):
            layers += [nn.Conv2d(width, width, 4, stride=2), nn.LeakyReLU(LEAK)]
            side = (side - 4) // 2 + 1
        self.layers = nn.Sequential(*layers, nn.Flatten(), KeyedDropout(config.dropout))
        self.dense = nn.Linear(width * side**2, 1)
        self.project = nn.Embedding(classes, width * side**2) if config.conditional else None
        self.apply(glorot)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        features = self.layers(images)
        logits = self.dense(features).squeeze(1)
        if self.project is not None:
            assert labels is not None, "a conditional discriminator needs labels"
            logits = logits + (self.project(labels) * features).sum(1)
        return logits


def _max_downsamples(size: int) -> int:
    """The number of 4x4 convolutions with stride 2 that fit into images of size x size, after one 3x3."""
    side, steps = size - 2, 0
    while side >= 4:
        side, steps = (side - 4) // 2 + 1, steps + 1
    return steps
