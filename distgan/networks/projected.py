"""The discriminator of Projected GANs (Sauer et al. 2021, arXiv:2111.01007) on EfficientNet-Lite0's features.

Images are resized; a fixed network gives maps at strides 4, 8, 16 and 32; fixed random convolutions mix their channels
(1x1), then their scales (3x3, from the deepest to the finest); each scale has a small trained head. No head normalises
over a batch: images then know nothing of each other, and in a prototype the statistics of a batch, which differ between
D's and G's update, were what G exploited.

The fixed network is no module of D: its weights are not in D's state, neither trained, averaged, exchanged nor saved.
The state holds their digest and the random convolutions, which are a function of the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distgan.config.networks import ProjectedDiscriminator
from distgan.networks.efficientnet import SHA256, Maps, load_lite0
from distgan.networks.layers import MIN_SIDE, Head, glorot
from distgan.utils.errors import CheckpointError

CUTS = {2: 24, 4: 40, 10: 112, 15: 320}  # channels after these blocks
STRIDES = (4, 8, 16, 32)
LEVELS = (8.5, 8.0, 6.5, 3.0)  # root mean squares of the maps, of small photographs
MIXED = (32, 32, 64, 96)  # channels of each scale
SLOPE = 0.2  # of the leaky ReLU


class Discriminator(nn.Module):
    """images [B, channels, size, size] in [-1, 1], labels [B] int64 or None -> logits [B, 4], one of each scale."""

    fixed_features = True
    features_digest: Tensor

    def __init__(self, config: ProjectedDiscriminator, size: int, classes: int, channels: int = 3) -> None:
        """size, channels: any; gray images are shown as RGB."""
        super().__init__()
        self.resolution = config.resolution
        self.register_buffer("features_digest", _digest())
        fixed = load_lite0("discriminator.family=projected", "another family, such as sngan")
        # in a list, which torch does not search for modules
        self._fixed = [Maps(fixed, CUTS).to(self.features_digest.device, torch.get_default_dtype())]
        self.mixing = Mixing()
        classes = classes if config.conditional else 0
        sides = [config.resolution // stride for stride in STRIDES]
        self.heads = nn.ModuleList(
            ScaleHead(mixed, side, config, classes) for mixed, side in zip(MIXED, sides, strict=True)
        )

    def forward(self, images: Tensor, labels: Tensor | None = None, maps: Sequence[Tensor] | None = None) -> Tensor:
        """maps: the images' `features`, where they are known."""
        return self.judge(self.features(images) if maps is None else maps, labels)

    def judge(self, maps: Sequence[Tensor], labels: Tensor | None = None) -> Tensor:
        """Logits [B, 4] of images whose maps are those of `features`."""
        mixed = self.mixing(maps)
        return torch.stack([head(each, labels) for head, each in zip(self.heads, mixed, strict=True)], dim=1)

    def features(self, images: Tensor) -> list[Tensor]:
        """Maps of the fixed network, from the finest to the deepest: [B, 24, R/4, R/4], ... [B, 320, R/32, R/32]."""
        colours = images.expand(-1, 3, -1, -1)
        side = (self.resolution, self.resolution)
        large = F.interpolate(colours, size=side, mode="bilinear", antialias=colours.shape[-1] > self.resolution)
        maps = self._fixed[0](large * 127.5 + 127.5)
        return [each / level for each, level in zip(maps, LEVELS, strict=True)]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Discriminator:
        """Moves and converts the fixed network along with D."""
        self._fixed[0]._apply(fn)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)  # type: ignore[no-any-return, no-untyped-call]

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *more: Any) -> None:
        saved = state.get(f"{prefix}features_digest")
        if saved is not None and not torch.equal(saved.cpu(), _digest()):
            raise CheckpointError(
                f"this D was trained on features of other weights than EfficientNet-Lite0's, sha256 {SHA256[:12]}...; "
                "go on with the distgan that made it, or begin a new run"
            )
        super()._load_from_state_dict(state, prefix, *more)


class Mixing(nn.Module):
    """Maps at four scales -> [B, 32, ...], [B, 32, ...], [B, 64, ...], [B, 96, ...] at the same scales.

    Convolutions with fixed random weights that keep the variance: 1x1 on each map; then each map is joined by the next
    deeper one, brought to its size and, by 3x3, to its channels.
    """

    def __init__(self) -> None:
        super().__init__()
        for number, (before, after) in enumerate(zip(CUTS.values(), MIXED, strict=True)):
            self.register_buffer(f"channels_{number}", _random(after, before, 1))
        for number, (after, before) in enumerate(pairwise(MIXED)):
            self.register_buffer(f"scales_{number}", _random(after, before, 3))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        mixed: list[Tensor] = []
        for number in reversed(range(len(MIXED))):
            x = F.conv2d(maps[number], self.get_buffer(f"channels_{number}"))
            if mixed:
                deeper = F.interpolate(mixed[0], size=x.shape[-2:], mode="bilinear")
                x = (x + F.conv2d(deeper, self.get_buffer(f"scales_{number}"), padding=1)) / 2**0.5
            mixed.insert(0, x)
        return mixed


class ScaleHead(nn.Module):
    """Maps [B, channels, side, side], labels -> logits [B]: 3x3, strided 4x4 down to at most 4x4, dense.

    Each convolution is followed by a leaky ReLU; classes: projection.
    """

    def __init__(self, channels: int, side: int, config: ProjectedDiscriminator, classes: int) -> None:
        super().__init__()
        convs = [nn.Conv2d(channels, config.width, 3, padding=1)]
        while side > MIN_SIDE:
            convs.append(nn.Conv2d(config.width, config.width, 4, stride=2, padding=1))
            side //= 2
        self.convs = nn.ModuleList(convs)
        self.head = Head(config.width * side**2, classes, config.dropout)
        self.apply(glorot)

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
        return self.head(x.flatten(1), labels)  # type: ignore[no-any-return]


def _random(after: int, before: int, kernel: int) -> Tensor:
    """Weights [after, before, kernel, kernel] of a fixed convolution that keeps the variance."""
    return torch.randn(after, before, kernel, kernel) / (before * kernel**2) ** 0.5


def _digest() -> Tensor:
    """The sha256 of the fixed network's file, uint8 [32], as D's state holds it."""
    return torch.tensor([*bytes.fromhex(SHA256)], dtype=torch.uint8)
