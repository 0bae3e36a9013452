"""Spectral normalisation: each weight is divided by its largest singular value (Miyato et al. 2018, arXiv:1802.05957).

torch's own normalisation iterates in `forward`, so a layer's result depends on the number of calls. Here `forward` is
pure and `power_iteration` iterates, once per update of D: micro-batches, penalties and all processes use equal weights.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

FIRST_ITERATIONS = 15  # of a new weight


class SpectralNorm(nn.Module):
    """weight [out, ...] -> weight / sigma, sigma = u^T W v with W the weight as a matrix [out, rest].

    u [out] and v [rest] come from power iterations and are constants: gradients flow through W only, of any order.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor) -> None:
        """Iterates from a random v of torch's generator, in the type and on the device of the weight."""
        super().__init__()
        rows, columns = weight.flatten(1).shape
        self.register_buffer("u", weight.new_zeros(rows))
        self.register_buffer("v", F.normalize(weight.new_empty(columns).normal_(), dim=0))
        for _ in range(FIRST_ITERATIONS):
            self.iterate(weight)

    def forward(self, weight: Tensor) -> Tensor:
        return weight / self.largest(weight)

    def largest(self, weight: Tensor) -> Tensor:
        """The largest singular value of a weight, as estimated: a scalar."""
        # not torch.mv, which autocast computes in half precision
        return (weight.flatten(1) * torch.outer(self.u, self.v)).sum()

    @torch.no_grad()
    def iterate(self, weight: Tensor) -> None:
        """One power iteration: u and v move towards the singular vectors of the largest singular value."""
        matrix = weight.flatten(1)
        self.u.copy_(F.normalize(matrix @ self.v, dim=0))
        self.v.copy_(F.normalize(matrix.T @ self.u, dim=0))


def normalise(network: nn.Module) -> None:
    """Adds SpectralNorm to the weight of every convolution, dense layer and embedding of a network."""
    for layer in list(network.modules()):
        if isinstance(layer, (nn.Conv2d, nn.Linear, nn.Embedding)):
            norm = SpectralNorm(layer.weight)
            parametrize.register_parametrization(layer, "weight", norm)


def spectral_norms_of(network: nn.Module) -> list[tuple[SpectralNorm, Tensor]]:
    """Every SpectralNorm of a network with its weight. The search takes longer than an iteration: search once."""
    lists = (module for module in network.modules() if isinstance(module, parametrize.ParametrizationList))
    return [(module[0], module.original) for module in lists if isinstance(module[0], SpectralNorm)]


def power_iteration(norms: Iterable[tuple[SpectralNorm, Tensor]]) -> None:
    """Runs one power iteration for each weight."""
    for norm, weight in norms:
        norm.iterate(weight)
