"""Feature extractors: uint8 images in, features and class logits out.

The protocol holds the sha256 of the file with a network's weights. A library is imported when its extractor is loaded;
the error for a missing one names its extra.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from distgan.config.choices import EXTRACTORS
from distgan.config.schema import EvaluateConfig
from distgan.metrics.extractors.pretrained import PretrainedNetwork
from distgan.networks import to_device
from distgan.utils.errors import QualityError
from distgan.utils.numerics import exact_numerics

Precision = Literal["no", "bf16"]
WITH_WEIGHTS = ("inception", "classifier")  # extractors that take a file of weights


class Extractor:
    """A pretrained network on a device.

    Attributes: name, digest, resize, dimension, classes, class_names, channels (see `PretrainedNetwork`), precision,
    batch_size (images at a time that suit the device). The same batch gives bit-identical features.
    """

    def __init__(
        self,
        name: str,
        pretrained: PretrainedNetwork,
        precision: Precision,
        device: torch.device,
        options: dict[str, Any] | None = None,
    ) -> None:
        """options: settings of an extractor from outside."""
        self.options = options or {}
        self.name, self.digest, self.resize = name, pretrained.digest, pretrained.resize
        self.dimension, self.classes = pretrained.dimension, pretrained.classes
        self.class_names, self.channels = pretrained.class_names, pretrained.channels
        self.precision, self.device = precision, device
        self.batch_size = 16 if device.type == "cpu" else 64
        network = pretrained.network.eval().requires_grad_(False)
        self._network = to_device(network, device)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [B, 3, H, W] on any device -> float32 features [B, dimension] and logits [B, classes] on the CPU.

        Gray images, [B, 1, H, W], are shown as RGB with three equal channels.
        """
        colours = images.repeat(1, 3, 1, 1) if images.shape[1] == 1 else images
        half = torch.bfloat16 if self.precision == "bf16" else None
        with torch.inference_mode(), exact_numerics(self.device, half):
            features, logits = self._network(colours.to(self.device))
        return features.float().cpu(), logits.float().cpu()


def load_extractor(config: EvaluateConfig, device: torch.device) -> Extractor | None:
    """The extractor `config.extractor` on the device, or None for `none`.

    Raises QualityError: missing extra; missing, damaged or foreign weights.
    """
    if config.weights is not None and config.extractor not in WITH_WEIGHTS:
        raise QualityError(
            f"evaluate.weights={config.weights} goes with {' or '.join(WITH_WEIGHTS)}, not with {config.extractor}; "
            "leave it out"
        )
    load, options = EXTRACTORS.load(config.extractor), None
    if config.extractor in EXTRACTORS.entries:
        pretrained = load(config)
    else:
        settings = EXTRACTORS.options_of(config.extractor, config.extractor_options)
        pretrained, options = load(settings), settings.model_dump(mode="json")
    return pretrained and Extractor(config.extractor, pretrained, config.precision, device, options)


def no_extractor(_config: EvaluateConfig) -> None:
    """No features: only the scores of the embedded shapes."""
