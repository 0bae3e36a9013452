"""Optimizers from the configuration, and one that torch lacks: Keras' RMSprop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from distgan.config.method import Adam, AdamW, Rmsprop
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


def build_optimizer(config: Rmsprop | Adam | AdamW, network: nn.Module) -> torch.optim.Optimizer:
    """The configured optimizer for all weights of a network, with the settings of the first image."""
    weights, lr = network.parameters(), at(config.lr, 0)
    if isinstance(config, Rmsprop):
        return KerasRMSprop(weights, lr, config.rho, config.eps)
    betas = (config.beta1, at(config.beta2, 0))
    if isinstance(config, AdamW):
        return torch.optim.AdamW(weights, lr, betas, config.eps, config.weight_decay)
    return torch.optim.Adam(weights, lr, betas, config.eps)


def set_schedule(optimizer: torch.optim.Optimizer, config: Rmsprop | Adam | AdamW, lr: float, images: int) -> None:
    """Sets the learning rate and whatever follows a schedule. images: real images that D has been shown."""
    changing: dict[str, Any] = {"lr": lr}
    if isinstance(config, Adam):  # AdamW is one, too
        changing |= {"betas": (config.beta1, at(config.beta2, images))}
    for group in optimizer.param_groups:
        group.update(changing)


def inverse_time(lr: float, decay: float, updates: int) -> float:
    """Keras' learning rate decay: lr / (1 + decay * updates), updates counted from 0."""
    return lr / (1 + decay * updates)
