"""The generator of FastGAN (Liu et al. 2021, arXiv:2101.04775, section 3.1), for images of 4 * 2**n pixels a side.

Dense to 4x4; each stage doubles the size by nearest neighbours and has two 3x3 convolutions, each with noise, batch
normalisation and a gated linear unit. Skip-layer excitation: the maps of a stage weight the channels of the fourth
after it, so from 64x64 on.
The paper's stages have one or two convolutions in turn, and spectral normalisation, which batch normalisation makes
nearly without effect on the result. Beyond the paper: classes, and a latent vector that changes the weights and biases
of every normalisation (Chen et al. 2019, arXiv:1810.01365), without which a discriminator on pretrained features leaves
one image of each class. With the defaults, 32x32 images and no classes G has 1,385,705 parameters.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distgan.config.networks import FastganGenerator
from distgan.networks.batch_norm import GlobalBatchNorm
from distgan.networks.classes import of_classes
from distgan.networks.dropout import KeyedNoise
from distgan.networks.layers import MIN_SIDE, check_stages, halvings

DEVIATION = 0.02  # of new weights


class Generator(nn.Module):
    """latents [B, L], labels [B] int64 or None -> images [B, channels, size, size] in [-1, 1].

    Classes: each has a vector as long as the latent one, beside it.
    """

    def __init__(self, config: FastganGenerator, size: int, classes: int, channels: int = 3) -> None:
        super().__init__()
        halvings("generator.family=fastgan", size, minimum=1)
        widths, reach = config.widths, config.excitation_stages
        check_stages("generator.widths", "fastgan", len(widths), size)
        self.embed = nn.Embedding(classes, config.latent_dim) if config.conditional else None
        given = config.latent_dim * (2 if config.conditional else 1)
        self.dense = nn.Linear(given, 2 * widths[0] * MIN_SIDE**2, bias=False)
        self.norm = GlobalBatchNorm(2 * widths[0])
        modulators = given if config.modulated else 0
        self.stages = nn.ModuleList(UpStage(before, width, modulators) for before, width in pairwise(widths))
        self.excitations = nn.ModuleList(Excitation(*pair) for pair in zip(widths, widths[reach:], strict=False))
        self.reach = reach
        self.to_rgb = nn.Conv2d(widths[-1], channels, 3, padding=1)
        self.apply(_begin)

    @property
    def latent_layers(self) -> list[nn.Module]:
        """What main directions are made of: where latents modulate, the next norm takes the scale of `dense` away."""
        stages = [stage for stage in self.stages if isinstance(stage, UpStage)]
        return [style for stage in stages for style in stage.styles] or [self.dense]

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.embed is not None:
            assert labels is not None, "a conditional generator needs labels"
            latents = torch.cat([latents, of_classes(self.embed.weight, labels)], dim=1)
        x = self.dense(latents).unflatten(1, (-1, MIN_SIDE, MIN_SIDE))
        maps = [glu(self.norm(x))]
        for number, stage in enumerate(self.stages, start=1):
            x = stage(maps[-1], latents)
            if number >= self.reach:
                x = x * self.excitations[number - self.reach](maps[number - self.reach])
            maps.append(x)
        return self.to_rgb(maps[-1]).tanh()


class UpStage(nn.Module):
    """[B, before, H, W], vectors [B, modulators] -> [B, width, 2H, 2W]: nearest upsampling, then twice: 3x3, noise,
    norm, GLU."""

    def __init__(self, before: int, width: int, modulators: int) -> None:
        """modulators: length of the vectors that change the normalisations, or 0."""
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(n, 2 * width, 3, padding=1, bias=False) for n in (before, width))
        self.noises = nn.ModuleList(KeyedNoise() for _ in range(2))
        self.norms = nn.ModuleList(GlobalBatchNorm(2 * width) for _ in range(2))
        self.styles = nn.ModuleList(nn.Linear(modulators, 4 * width, bias=False) for _ in range(2) if modulators)

    def forward(self, x: Tensor, vectors: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2)  # nearest
        added = [style(vectors) for style in self.styles] or [None, None]
        for conv, noise, norm, more in zip(self.convs, self.noises, self.norms, added, strict=True):
            x = glu(norm(noise(conv(x)), added=more))
        return x


class Excitation(nn.Module):
    """Maps of an earlier stage [B, early, H, W] -> factors in (0, 1) of a later stage's channels, [B, late, 1, 1].

    Mean to 4x4, 4x4 convolution, swish, 1x1 convolution, sigmoid.
    """

    def __init__(self, early: int, late: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(early, late, MIN_SIDE, bias=False)
        self.excite = nn.Conv2d(late, late, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        small = F.avg_pool2d(x, x.shape[-1] // MIN_SIDE)
        return self.excite(F.silu(self.squeeze(small))).sigmoid()


def glu(x: Tensor) -> Tensor:
    """[B, 2C, H, W] -> [B, C, H, W]. The gradient of torch's own has another memory layout than x, which costs time."""
    linear, gate = x.chunk(2, dim=1)
    return linear * gate.sigmoid()


def _begin(module: nn.Module) -> None:
    """Sets normal weights, and zero biases."""
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        nn.init.normal_(module.weight, std=DEVIATION)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
