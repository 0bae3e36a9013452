"""Feature extractors: uint8 images in, features and class logits out.

The protocol holds the sha256 of the file with a network's weights. A library is imported when its extractor is loaded;
the error for a missing one names its extra.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from distgan.config.schema import EvaluateConfig
from distgan.metrics.extractors import efficientnet, inception
from distgan.metrics.extractors.pretrained import PretrainedNetwork
from distgan.networks import to_device
from distgan.utils.errors import QualityError
from distgan.utils.numerics import exact_numerics

Precision = Literal["no", "bf16"]


class Extractor:
    """A pretrained network on a device.

    Attributes: name, digest, resize, dimension, classes (see `PretrainedNetwork`), precision, batch_size (images at a
    time that suit the device). The same batch gives bit-identical features.
    """

    def __init__(self, name: str, pretrained: PretrainedNetwork, precision: Precision, device: torch.device) -> None:
        self.name, self.digest, self.resize = name, pretrained.digest, pretrained.resize
        self.dimension, self.classes = pretrained.dimension, pretrained.classes
        self.precision, self.device = precision, device
        self.batch_size = 16 if device.type == "cpu" else 64
        network = pretrained.network.eval().requires_grad_(False)
        self._network = to_device(network, device)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [B, 3, H, W] on any device -> float32 features [B, dimension] and logits [B, classes] on the CPU."""
        half = torch.bfloat16 if self.precision == "bf16" else None
        with torch.inference_mode(), exact_numerics(self.device, half):
            features, logits = self._network(images.to(self.device))
        return features.float().cpu(), logits.float().cpu()


def load_extractor(config: EvaluateConfig, device: torch.device) -> Extractor | None:
    """The extractor `config.extractor` on the device, or None for `none`.

    Raises QualityError: missing extra; missing, damaged or foreign weights.
    """
    if config.weights is not None and config.extractor != "inception":
        raise QualityError(
            f"evaluate.weights={config.weights} goes with inception, not with {config.extractor}; leave it out"
        )
    if config.extractor == "none":
        return None
    pretrained = inception.load(config.weights) if config.extractor == "inception" else efficientnet.load()
    return Extractor(config.extractor, pretrained, config.precision, device)
