"""One side of the game: a network, its update rule, its gradient scaler, and the count of its updates."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from distgan.config.method import Adam, AdamW, Rmsprop
from distgan.config.schedule import at
from distgan.distributed.accelerator import wrap
from distgan.networks import to_device
from distgan.training.optim import build_optimizer, inverse_time, set_rule


class Player:
    """G or D under Accelerate.

    `network` is the bare module: for a forward whose gradients stop before its weights, for saving. `wrapped` is
    what `prepare` made of it: for a forward whose gradients are averaged over the ranks. Each has its own scaler,
    so that an fp16 overflow in one does not change the other's scale.
    """

    def __init__(
        self,
        network: nn.Module,
        config: Rmsprop | Adam | AdamW,
        accelerator: Accelerator,
        bucket_mb: float | Literal["auto"] = "auto",
    ) -> None:
        """bucket_mb: `train.bucket_mb`."""
        self.network = to_device(network, accelerator.device)
        self.weights = list(self.network.parameters())
        self.config = config
        self.optimizer = build_optimizer(config, self.network)
        self.wrapped = wrap(accelerator, self.network, bucket_mb)
        fp16 = accelerator.mixed_precision == "fp16"
        self.scaler = torch.amp.GradScaler(accelerator.device.type, enabled=fp16)
        self.updates = 0
        self._accelerator = accelerator

    def freeze(self, frozen: bool) -> None:
        """Whether backward leaves its weights without gradients."""
        for weight in self.weights:
            weight.requires_grad_(not frozen)

    def lr(self, images: int) -> float:
        """Learning rate of the next update, when D has been shown so many real images."""
        return inverse_time(at(self.config.lr, images), self.config.decay, self.updates)

    def part(self, index: int, parts: int) -> AbstractContextManager[None]:
        """Around forward and backward of micro-batch `index`: gradients are averaged over the ranks in the last."""
        return nullcontext() if index == parts - 1 else self._accelerator.no_sync(self.wrapped)

    def backward(self, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()

    def update(self, lr: float, images: int) -> Tensor:
        """Clips, steps, forgets the gradients. Returns their L2 norm before clipping, on the device.

        images: real images that D has been shown, for what follows a schedule.
        """
        set_rule(self.optimizer, self.config, lr, images)
        self.scaler.unscale_(self.optimizer)
        norm = total_norm([weight.grad for weight in self.weights if weight.grad is not None])
        if self.config.clip_value is not None:
            torch.nn.utils.clip_grad_value_(self.weights, self.config.clip_value)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.updates += 1
        return norm


@torch.no_grad()
def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """L2 norm of all as one vector, on their device; as torch's `get_total_norm`, which first sorts them by device."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors))))
