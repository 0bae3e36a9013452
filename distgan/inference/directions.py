"""The main directions of a latent space, in closed form from the generator's first layer (SeFa).

Source: Shen & Zhou 2021, "Closed-form factorization of latent semantics in GANs", arXiv:2007.06600.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distgan.utils.errors import ExportError


def main_directions(network: nn.Module, latent_dim: int) -> Tensor:
    """Orthogonal unit vectors along which the first layer's output changes most, the strongest first.

    -> float32 [latent_dim, latent_dim], a direction per row: the eigenvectors of A^T A, with A the weights of the first
    dense or convolutional layer. The largest number of each is positive. Raises ExportError where the network, one from
    outside, has no such layer for its latents.
    """
    weight = _first_weight(network, latent_dim)
    gram = weight.T @ weight
    vectors = torch.linalg.eigh(gram).eigenvectors.T.flip(0)  # eigh sorts upwards
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return (vectors * largest.sign()).float()


def _first_weight(network: nn.Module, latent_dim: int) -> Tensor:
    """Float64 [outputs, latent_dim] of the first layer that takes latents, perhaps with classes after them."""
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)) and module.weight.shape[1] >= latent_dim:
            return module.weight.detach().double().cpu().movedim(1, -1).flatten(0, -2)[:, :latent_dim]
        if isinstance(module, nn.ConvTranspose2d) and module.weight.shape[0] >= latent_dim:
            return module.weight.detach().double().cpu().flatten(1).T[:, :latent_dim]
    raise ExportError(f"this network has no dense or convolutional layer for latents of {latent_dim} numbers")
