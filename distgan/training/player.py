"""A network under training: G or D with its optimizer, gradient scaler and count of updates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from distgan.config.method import OPTIMIZERS, UpdateRule
from distgan.config.schedule import Schedule, at
from distgan.distributed.accelerator import wrap
from distgan.networks import to_device
from distgan.training.optim import build_optimizer, inverse_time, set_schedule


class Player:
    """G or D under Accelerate.

    `network` is the bare module: for a forward whose gradients stop before its weights, for saving. `wrapped` is
    what `prepare` made of it: for a forward whose gradients are averaged over the ranks. Each has its own scaler,
    so that an fp16 overflow in one does not change the other's scale.
    """

    def __init__(
        self,
        network: nn.Module,
        config: UpdateRule,
        accelerator: Accelerator,
        bucket_mb: float | Literal["auto"] = "auto",
    ) -> None:
        """network: weights that need no gradient are not trained; bucket_mb: size of DDP's buckets, MiB."""
        self.network = to_device(network, accelerator.device)
        self.weights = list(self.network.parameters())
        self.trained = [weight for weight in self.weights if weight.requires_grad]
        self.config = config
        self.rule = cast(UpdateRule, OPTIMIZERS.settings_of(config))
        self.optimizer = build_optimizer(config, self.trained)
        self.wrapped = wrap(accelerator, self.network, bucket_mb)
        fp16 = accelerator.mixed_precision == "fp16"
        self.scaler = torch.amp.GradScaler(accelerator.device.type, enabled=fp16)
        self.updates = 0
        self._accelerator = accelerator

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Within it, backward gives the trained weights no gradients; the others never get any."""
        for weight in self.trained:
            weight.requires_grad_(False)
        try:
            yield
        finally:
            for weight in self.trained:
                weight.requires_grad_(True)

    @property
    def lr_varies(self) -> bool:
        """Whether the configuration itself changes the learning rate while training."""
        return isinstance(self.config.lr, Schedule) or self.config.decay > 0

    def lr(self, images: int) -> float:
        """Learning rate of the next update. images: real images that D has been shown."""
        return inverse_time(at(self.config.lr, images), self.config.decay, self.updates)

    def part(self, index: int, parts: int) -> AbstractContextManager[None]:
        """A context for forward and backward of a micro-batch; the ranks average gradients in the last one only."""
        return nullcontext() if index == parts - 1 else self._accelerator.no_sync(self.wrapped)

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of a scalar loss."""
        self.scaler.scale(loss).backward()

    def update(self, lr: float, images: int) -> Tensor:
        """Clips, updates the weights, and drops the gradients. Returns their L2 norm before clipping, on the device.

        images: real images that D has been shown, for schedules.
        """
        set_schedule(self.optimizer, self.rule, lr, images)
        self.scaler.unscale_(self.optimizer)
        norm = total_norm([weight.grad for weight in self.trained if weight.grad is not None])
        if self.config.clip_value is not None:
            torch.nn.utils.clip_grad_value_(self.trained, self.config.clip_value)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.updates += 1
        return norm


@torch.no_grad()
def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """L2 norm of all tensors as one vector, a scalar on their device.

    As torch's `get_total_norm`, which first sorts them by device.
    """
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors))))
