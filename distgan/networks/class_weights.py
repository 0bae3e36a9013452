"""The tensors of a network that have an entry for each class, so that classes can be taken over by their names."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from distgan.networks.batch_norm import ConditionalBatchNorm
from distgan.networks.seed_dcgan import Generator as SeedGenerator


class ClassEntries(NamedTuple):
    """Where a tensor has its classes: entry `first` + i along `axis` belongs to class i; those before, to none."""

    axis: int
    first: int


def class_entries(network: nn.Module) -> dict[str, ClassEntries]:
    """By the tensors' names in the state_dict: embeddings, conditional normalisations, one-hot inputs."""
    found: dict[str, ClassEntries] = {}
    for name, layer in network.named_modules():
        prefix = f"{name}." if name else ""
        if isinstance(layer, nn.Embedding):
            found |= dict.fromkeys((f"{prefix}weight", f"{prefix}parametrizations.weight.original"), ClassEntries(0, 0))
        elif isinstance(layer, ConditionalBatchNorm):
            found |= dict.fromkeys((f"{prefix}weight", f"{prefix}bias"), ClassEntries(0, 0))
        elif isinstance(layer, SeedGenerator) and layer.classes:
            found[f"{prefix}dense.weight"] = ClassEntries(1, layer.latent_dim)
    return found
