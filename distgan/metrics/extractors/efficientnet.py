"""The extractor EfficientNet-Lite0, whose weights come with a package.

It is small, needs no download, and ranks damaged images well (docs/judges.md). Its Fréchet distance is not FID.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import interpolate

from distgan.config.schema import EvaluateConfig
from distgan.metrics.extractors.pretrained import PretrainedNetwork
from distgan.networks.efficientnet import SHA256, load_lite0, scaled

RESIZE = 112  # pixels; it was trained at 224, which takes four times as long


def load(_config: EvaluateConfig) -> PretrainedNetwork:
    """Loads the network. Raises QualityError if the extra `quality` is missing, or its file has another sha256."""
    network = load_lite0("the extractor efficientnet_lite0", "none")
    return PretrainedNetwork(_Lite(network), SHA256, RESIZE, dimension=1280, classes=1000)


class _Lite(nn.Module):
    """Bytes in, pooled features and logits out."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [B, 3, H, W] -> [B, 1280], [B, 1000]."""
        large = interpolate(images.float(), size=(RESIZE, RESIZE), mode="bilinear", antialias=True)
        features = self.network.extract_features(scaled(large)).mean(dim=(2, 3))
        return features, self.network._fc(features)
