"""Optimizers from the configuration, and one that torch lacks: Keras' RMSprop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from distgan.config.method import OPTIMIZERS, Adam, AdamW, Rmsprop, UpdateRule
from distgan.config.schedule import at


class KerasRMSprop(torch.optim.Optimizer):
    """w -= lr * g / sqrt(m + eps), m = rho * m + (1 - rho) * g^2, m starting at 0.

    torch.optim.RMSprop adds eps outside the root, which is another rule where gradients are small.
    Source: keras.optimizers.RMSprop (Keras 3); Hinton's lecture 6e (2012).
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, rho: float = 0.9, eps: float = 1e-7) -> None:
        super().__init__(parameters, {"lr": lr, "rho": rho, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not weights:
                continue
            gradients = [weight.grad for weight in weights]
            means = [self._mean(weight) for weight in weights]
            torch._foreach_mul_(means, group["rho"])
            torch._foreach_addcmul_(means, gradients, gradients, 1 - group["rho"])
            roots = torch._foreach_add(means, group["eps"])
            torch._foreach_sqrt_(roots)
            torch._foreach_addcdiv_(weights, gradients, roots, -group["lr"])

    def _mean(self, weight: nn.Parameter) -> Tensor:
        state = self.state[weight]
        if "square_mean" not in state:
            state["square_mean"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
        return state["square_mean"]


def keras_rmsprop(config: Rmsprop, weights: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return KerasRMSprop(weights, at(config.lr, 0), config.rho, config.eps)


def adam(config: Adam, weights: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(weights, at(config.lr, 0), (config.beta1, at(config.beta2, 0)), config.eps)


def adamw(config: AdamW, weights: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    betas = (config.beta1, at(config.beta2, 0))
    return torch.optim.AdamW(weights, at(config.lr, 0), betas, config.eps, config.weight_decay)


def build_optimizer(config: UpdateRule, weights: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The configured optimizer for some weights, with the settings of the first image."""
    return cast(torch.optim.Optimizer, OPTIMIZERS.build(config, weights))


def set_schedule(optimizer: torch.optim.Optimizer, config: UpdateRule, lr: float, images: int) -> None:
    """Sets the learning rate and whatever follows a schedule. images: real images that D has been shown."""
    changing = {"lr": lr, **config.scheduled(images)}
    for group in optimizer.param_groups:
        group.update(changing)


def inverse_time(lr: float, decay: float, updates: int) -> float:
    """Keras' learning rate decay: lr / (1 + decay * updates), updates counted from 0."""
    return lr / (1 + decay * updates)
