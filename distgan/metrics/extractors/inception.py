"""Inception-v3 from torch-fidelity, which defines FID (Szegedy et al. 2016; Heusel et al. 2017).

The weights are torch-fidelity's own, downloaded once into torch's cache, or a file of the user. The file is first read
as plain tensors, so that no code in it runs; the library gets only bytes that passed.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from distgan.config.schema import EvaluateConfig
from distgan.metrics.extractors.pretrained import PretrainedNetwork
from distgan.utils.errors import QualityError
from distgan.utils.safe_io import printable, read_bytes

STANDARD_SHA256 = "6726825d"  # beginning of the sha256 of torch-fidelity's file
MAX_BYTES = 1 << 30  # of a file with weights, which has 91 MiB


def load(config: EvaluateConfig) -> PretrainedNetwork:
    """Loads the network. Raises QualityError: missing extra `inception`, failed download, or a file of other weights.

    config.weights: a file of the user; None: torch-fidelity's.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3
    except ImportError as error:
        raise QualityError(
            f"the extractor inception needs torch-fidelity and torchvision ({printable(str(error))}); "
            'pip install "distgan[inception]", or use efficientnet_lite0'
        ) from None
    path = _download(URL_INCEPTION_V3) if config.weights is None else config.weights.expanduser()
    content = _plain_tensors(path)
    try:
        with torch.random.fork_rng(devices=[]):  # the library draws random weights first
            network = FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], io.BytesIO(content))
    except (RuntimeError, TypeError, AttributeError, KeyError) as error:
        first = printable(str(error).splitlines()[-1].strip())
        raise QualityError(f"{path} does not hold Inception's weights for torch-fidelity: {first}") from None
    return PretrainedNetwork(
        _Inception(network), hashlib.sha256(content).hexdigest(), 299, dimension=2048, classes=1008
    )


def _plain_tensors(path: Path) -> bytes:
    """Reads a file that holds tensors and no code. Raises QualityError."""
    try:
        content = read_bytes(path, MAX_BYTES)
        torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except OSError as error:
        raise QualityError(f"{path} cannot be read: {error.strerror or error}; give Inception's weights") from None
    except (ValueError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = printable(str(error).splitlines()[0]) if str(error) else type(error).__name__
        raise QualityError(f"{path} is not a file of plain weights: {reason}") from None
    return content


def _download(url: str) -> Path:
    """torch-fidelity's file in torch's cache, downloaded if it is missing and checked against the hash in its name."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if str(path).startswith("~"):
        raise QualityError(
            "there is no home directory to keep Inception's weights in; set TORCH_HOME, or name the file as "
            "evaluate.weights or --weights-file"
        )
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=STANDARD_SHA256, progress=False)
        except (OSError, RuntimeError) as error:  # URLError is an OSError
            raise QualityError(
                f"Inception's weights cannot be downloaded from {url} ({printable(str(error))}); "
                "fetch the file elsewhere and name it as evaluate.weights or --weights-file"
            ) from None
    return path


class _Inception(nn.Module):
    """Bytes in, pooled features and logits out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [B, 3, H, W] -> [B, 2048], [B, 1008]."""
        features, logits = self.network(images)
        return features, logits
