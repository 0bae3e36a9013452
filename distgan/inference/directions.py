"""The main directions of a latent space, in closed form from the weights of the layers that take latents (SeFa).

Source: Shen & Zhou 2021, "Closed-form factorization of latent semantics in GANs", arXiv:2007.06600.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from distgan.utils.errors import ExportError


def main_directions(network: nn.Module, latent_dim: int) -> Tensor:
    """Orthogonal unit vectors along which the output of the layers that take latents changes most, the strongest first.

    -> float32 [latent_dim, latent_dim], a direction per row: the eigenvectors of A^T A, with A the weights of the
    layers in the network's `latent_layers`, where it has them, else of its first dense or convolutional layer. The
    largest number of each is positive. Raises ExportError where a network from outside has no such layer.
    """
    weights = _weights(getattr(network, "latent_layers", ()), latent_dim)
    weights = weights or _weights(network.modules(), latent_dim)[:1]
    if not weights:
        raise ExportError(f"this network has no dense or convolutional layer for latents of {latent_dim} numbers")
    vectors = torch.linalg.eigh(sum(weight.T @ weight for weight in weights)).eigenvectors.T.flip(0)  # it sorts upwards
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return (vectors * largest.sign()).float()


def _weights(layers: Iterable[nn.Module], latent_dim: int) -> list[Tensor]:
    """Float64 [outputs, latent_dim] of each layer that can take latents, perhaps with classes after them."""
    found = []
    for layer in layers:
        if isinstance(layer, (nn.Linear, nn.Conv2d)) and layer.weight.shape[1] >= latent_dim:
            found.append(layer.weight.movedim(1, -1).flatten(0, -2))
        elif isinstance(layer, nn.ConvTranspose2d) and layer.weight.shape[0] >= latent_dim:
            found.append(layer.weight.flatten(1).T)
    return [weight[:, :latent_dim].detach().double().cpu() for weight in found]
