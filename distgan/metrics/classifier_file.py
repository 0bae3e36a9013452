"""The file of a classifier: safetensors with its description, of which no code is run.

A file is checked before it is used: its size, the description, and the tensors' names, types and shapes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from torch import Tensor

from distgan.config.messages import first_mistake
from distgan.data.shards.manifest import Text
from distgan.networks.classifier import Classifier
from distgan.utils.errors import QualityError
from distgan.utils.files import atomic_path
from distgan.utils.limits import MAX_CLASSES
from distgan.utils.safe_io import parse_json, printable, read_bytes
from distgan.utils.version import __version__

KEY = "distgan_classifier"  # of the metadata
MIN_SIZE, MAX_SIZE = 16, 512  # height and width of the images, pixels
MAX_BYTES = 32 << 20  # of a file; one of 10 classes has 1.3 MB


class ClassifierDescription(BaseModel):
    """What a classifier's file says beside the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    format_version: Literal[1] = 1
    class_names: Annotated[tuple[Text, ...], Field(min_length=2, max_length=MAX_CLASSES)]
    """By the number of the logit."""
    size: Annotated[int, Field(ge=MIN_SIZE, le=MAX_SIZE)]
    """Height and width of the images, pixels."""
    channels: Literal[1, 3]
    """Of the images: 3 (RGB), or 1 (gray)."""
    accuracy: Annotated[float, Field(ge=0, le=1)]
    """On images that it was not trained on."""
    tested_on: Annotated[int, Field(ge=1)]
    """Number of these images."""
    data_digest: Text
    """Digest of the manifest of the training data."""
    distgan: Text = __version__
    """Version that trained it."""

    @model_validator(mode="after")
    def _classes_differ(self) -> ClassifierDescription:
        if len(set(self.class_names)) != len(self.class_names):
            raise ValueError("two classes have the same name")
        return self


def save_classifier(path: Path, network: Classifier, description: ClassifierDescription) -> int:
    """Writes the file atomically; returns its bytes. Raises QualityError if it cannot be written."""
    content = safetensors.torch.save(stored_weights(network), {KEY: description.model_dump_json()})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise QualityError(f"{path} cannot be written: {error.strerror or error}") from None
    return len(content)


def stored_weights(network: Classifier) -> dict[str, Tensor]:
    """The network's tensors by name as a file holds them: float16 matrices, float32 vectors, contiguous."""
    return {
        name: tensor.detach().to(torch.float16 if tensor.ndim > 1 else torch.float32).contiguous()
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point()
    }


def round_weights(network: Classifier) -> None:
    """Gives the network, in place, the numbers that its file will hold."""
    network.load_state_dict(stored_weights(network), strict=False)


def load_classifier(path: Path) -> tuple[Classifier, ClassifierDescription, str]:
    """The network in float32 on the CPU in eval mode, its description, and the sha256 of the file.

    Raises QualityError: missing, damaged, too large, or the file of another program.
    """
    hint = "`distgan classifier DATA --out FILE.safetensors` makes one"
    try:
        content = read_bytes(path, MAX_BYTES)
        state = safetensors.torch.load(content)
        description = ClassifierDescription.model_validate(_described(content))
    except OSError as error:
        raise QualityError(f"{path} cannot be read: {error.strerror or error}; {hint}") from None
    except ValidationError as error:
        raise QualityError(f"{path} does not describe a classifier: {first_mistake(error)}; {hint}") from None
    except (ValueError, KeyError, SafetensorError) as error:
        raise QualityError(f"{path} is not the file of a classifier: {printable(str(error))}; {hint}") from None
    return _network(state, description, path), description, hashlib.sha256(content).hexdigest()


def _described(content: bytes) -> object:
    """The description in a safetensors file: 8 bytes with the length of a JSON object, which follows."""
    header = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")])
    text = (header.get("__metadata__") or {}).get(KEY)
    if text is None:
        raise ValueError("it has no description of one")
    return parse_json(text)


def _network(state: dict[str, Tensor], description: ClassifierDescription, path: Path) -> Classifier:
    """The network with these weights. Raises QualityError if they are others than the description says."""
    with torch.device("meta"):
        network = Classifier(description.size, description.channels, len(description.class_names))
    wanted, found = _forms(stored_weights(network)), _forms(state)
    if wanted != found:
        name = min({*wanted.items()} ^ {*found.items()})[0]
        raise QualityError(
            f"{path}: {printable(name)} is {found.get(name, 'missing')}, and a classifier of {description.size} pixels "
            f"and {len(description.class_names)} classes has {wanted.get(name, 'no such tensor')}; make the file again"
        )
    counters = {name: torch.tensor(0) for name, _ in network.named_buffers() if name not in state}
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()} | counters, assign=True)
    return network.eval().requires_grad_(False)


def _forms(tensors: dict[str, Tensor]) -> dict[str, str]:
    return {name: f"{str(tensor.dtype)[6:]} {list(tensor.shape)}" for name, tensor in tensors.items()}
