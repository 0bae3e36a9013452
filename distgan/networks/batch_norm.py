"""Batch normalisation over the global batch, without and with classes.

torch's BatchNorm uses one process's rows, so two processes train a different model than one. Here mean and variance are
averaged over all ranks, which have equally many rows. One rank has torch's kernels, which read the maps fewer times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from distgan.networks.classes import of_classes
from distgan.utils.numerics import at_least_float32

EPSILON = 1e-5
MOMENTUM = 0.1


class GlobalBatchNorm(nn.Module):
    """[B, C, H, W] -> the same shape and type: (x - mean) / deviation * weight + bias, per channel.

    Training: statistics of the global batch, in float32 or higher, through which gradients flow; the running statistics
    move towards them by MOMENTUM (unbiased variance). Eval: the running statistics, without communication.
    Source: Ioffe & Szegedy 2015, arXiv:1502.03167.
    """

    running_mean: Tensor
    running_var: Tensor
    parts = 1
    """Equal parts of the rows that have statistics of their own in training: D sees fakes and reals joined."""

    def __init__(self, channels: int, classes: int | None = None) -> None:
        super().__init__()
        table = (channels,) if classes is None else (classes, channels)
        self.weight = nn.Parameter(torch.ones(table))
        self.bias = nn.Parameter(torch.zeros(table))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor, labels: Tensor | None = None, added: Tensor | None = None) -> Tensor:
        """Normalises. Labels are ignored; a network can hold either class of normalisation.

        added: [B, 2C], what an image's weights and its biases have more than their table.
        """
        weight, bias = self.of(labels)
        if added is not None:
            weight, bias = (table + more for table, more in zip((weight, bias), added.chunk(2, dim=1), strict=True))
        if self.parts == 1 or not self.training:
            return self._normalise(x, weight, bias)
        of_parts = (rows.chunk(self.parts) if rows.ndim == 2 else [rows] * self.parts for rows in (weight, bias))
        return torch.cat(list(map(self._normalise, x.chunk(self.parts), *of_parts)))

    def of(self, _labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weight and bias, [C], or [B, C] of the images' classes."""
        return self.weight, self.bias

    def _normalise(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Normalises with weight and bias: [C], or [B, C] with a row for each image."""
        fits = x.dtype.itemsize <= self.running_mean.dtype.itemsize
        if self.training and fits and _ranks() == 1 and not torch.compiler.is_compiling():
            return self._normalise_alone(x, weight, bias)
        wide = at_least_float32(x)
        mean, variance = self._measure(wide) if self.training else (self.running_mean, self.running_var)
        scale = weight * torch.rsqrt(variance + EPSILON)
        return torch.addcmul(_as_map(bias - mean * scale), wide, _as_map(scale)).to(x.dtype)

    def _normalise_alone(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The same in training mode on one rank; in bfloat16, weights and biases are rounded, too."""
        by_channel = {"weight": weight, "bias": bias} if weight.ndim == 1 else {}
        running = self.running_mean, self.running_var
        before = [statistic.clone() for statistic in running] if x.dtype == torch.float16 else []
        x = F.batch_norm(x, *running, **by_channel, training=True, momentum=MOMENTUM, eps=EPSILON)  # type: ignore[arg-type]
        for statistic, old in zip(running, before, strict=False):
            statistic.copy_(_finite_or(statistic, old))
        return x if by_channel else torch.addcmul(_as_map(bias.to(x.dtype)), x, _as_map(weight.to(x.dtype)))

    def _measure(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance [C] of the global batch: variances within the ranks plus the variance of their means."""
        own_variance, own_mean = torch.var_mean(x, (0, 2, 3), correction=0)
        mean = _mean_over_ranks(own_mean)
        variance = _mean_over_ranks(own_variance + (own_mean - mean).square())
        with torch.no_grad():
            count = x.numel() // x.shape[1] * _ranks()
            for running, found in ((self.running_mean, mean), (self.running_var, variance * count / (count - 1))):
                running.lerp_(_finite_or(found.to(running.dtype), running), MOMENTUM)
        return mean, variance

    def extra_repr(self) -> str:
        return f"{self.weight.shape[-1]}"


class ConditionalBatchNorm(GlobalBatchNorm):
    """GlobalBatchNorm with a weight and a bias for each class, [classes, C], initially 1 and 0.

    Source: Dumoulin et al. 2017, arXiv:1610.07629; for GANs Miyato & Koyama 2018, arXiv:1802.05637.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(channels, classes)

    def of(self, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        assert labels is not None, "a conditional normalisation needs labels"
        return of_classes(self.weight, labels), of_classes(self.bias, labels)


def batch_norm(channels: int, classes: int) -> GlobalBatchNorm:
    """A conditional normalisation if there are classes (0: none), else a plain one."""
    return ConditionalBatchNorm(channels, classes) if classes else GlobalBatchNorm(channels)


def batch_norms_of(network: nn.Module) -> list[GlobalBatchNorm]:
    """Every batch normalisation of a network."""
    return [module for module in network.modules() if isinstance(module, GlobalBatchNorm)]


@contextmanager
def joined(layers: Sequence[GlobalBatchNorm], parts: int) -> Iterator[None]:
    """Within it, the rows are so many equal parts, each normalised by its own statistics, as if it were alone.

    D would otherwise be another function of fakes where they stand beside reals than in G's update.
    """
    for layer in layers:
        layer.parts = parts
    try:
        yield
    finally:
        for layer in layers:
            layer.parts = 1


class _SumOverRanks(torch.autograd.Function):
    """Sum over all ranks. Every rank's loss depends on it, so its gradient is the sum of the ranks' gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _SumOverRanks.apply(*gradients)  # type: ignore[no-untyped-call]


def _mean_over_ranks(x: Tensor) -> Tensor:
    return _SumOverRanks.apply(x) / ranks if (ranks := _ranks()) > 1 else x  # type: ignore[no-untyped-call]


def _ranks() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _finite_or(found: Tensor, old: Tensor) -> Tensor:
    """Statistics [C]; the old one where an fp16 overflow made one infinite or NaN, whose update is skipped as well."""
    return torch.where(found.isfinite(), found, old)


def _as_map(values: Tensor) -> Tensor:
    """[..., C] -> [..., C, 1, 1]."""
    return values[..., None, None]
