"""Networks that make features of images: uint8 images in, features and class logits out.

A network's weights are part of the protocol by the sha256 of their file. The libraries are imported when an extractor
is loaded, and a missing one is told by the name of its extra.
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
    """Attributes: name, digest, resize, dimension, classes (see `PretrainedNetwork`), precision, batch_size.

    batch_size: images at a time that suit the device; an image's features are bit-identical for the same batch.
    """

    def __init__(self, name: str, weighed: PretrainedNetwork, precision: Precision, device: torch.device) -> None:
        self.name, self.digest, self.resize = name, weighed.digest, weighed.resize
        self.dimension, self.classes = weighed.dimension, weighed.classes
        self.precision, self.device = precision, device
        self.batch_size = 16 if device.type == "cpu" else 64
        network = weighed.network.eval().requires_grad_(False)
        self._network = to_device(network, device)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [B, 3, H, W] on any device -> float32 features [B, dimension] and logits [B, classes] on the CPU."""
        half = torch.bfloat16 if self.precision == "bf16" else None
        with torch.inference_mode(), exact_numerics(self.device, half):
            features, logits = self._network(images.to(self.device))
        return features.float().cpu(), logits.float().cpu()


def load_extractor(config: EvaluateConfig, device: torch.device) -> Extractor | None:
    """The extractor that `config` names, on the device; None for none.

    Raises QualityError: its extra is missing, or its weights are missing, damaged, or not this network's.
    """
    if config.weights is not None and config.extractor != "inception":
        raise QualityError(
            f"evaluate.weights={config.weights} goes with inception, not with {config.extractor}; leave it out"
        )
    if config.extractor == "none":
        return None
    weighed = inception.load(config.weights) if config.extractor == "inception" else efficientnet.load()
    return Extractor(config.extractor, weighed, config.precision, device)
