"""The extractor of a small classifier that was trained on the real images: the second judge (docs/judges.md).

It owes nothing to ImageNet, and knows the classes of the data set. Its weights are the file `evaluate.weights`, which
`distgan classifier` makes; without one those for CIFAR-10 that come with distgan.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn
from torch.nn.functional import interpolate

from distgan.config.schema import EvaluateConfig
from distgan.metrics.classifier_file import load_classifier
from distgan.metrics.extractors.pretrained import PretrainedNetwork
from distgan.networks.classifier import DIMENSION, Classifier

CIFAR10 = Path(__file__).parents[2] / "assets" / "cifar10_classifier.safetensors"


def load(config: EvaluateConfig) -> PretrainedNetwork:
    """Loads the network. Raises QualityError for a file that is missing, damaged, or of another program."""
    path = CIFAR10 if config.weights is None else config.weights.expanduser()
    network, description, digest = load_classifier(path)
    return PretrainedNetwork(
        _Judge(network, description.size, description.channels),
        digest,
        description.size,
        dimension=DIMENSION,
        classes=len(description.class_names),
        class_names=description.class_names,
        channels=description.channels,
    )


class _Judge(nn.Module):
    """Bytes in, pooled features and logits out."""

    def __init__(self, network: Classifier, size: int, channels: int) -> None:
        super().__init__()
        self.network, self.size, self.channels = network, size, channels

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [B, 3, H, W] -> [B, DIMENSION], [B, classes]. A classifier of gray images sees the first channel."""
        pixels = images[:, : self.channels].float()
        if pixels.shape[-1] != self.size:
            pixels = interpolate(pixels, size=(self.size, self.size), mode="bilinear", antialias=True)
        features, logits = self.network(pixels / 127.5 - 1)
        return features, logits
