"""Which augmentation D sees, and how much of it: ADA's probability is a state of the training, kept on the device."""

from __future__ import annotations

import torch
from torch import Tensor

from distgan.config.method import Ada, DiffAugment, NoAugment
from distgan.config.schedule import at
from distgan.training.augment import ADA_NORMALS, ADA_UNIFORMS, DIFF_UNIFORMS, ada_augment, diff_augment, next_p
from distgan.utils.rng import Draws


class Augmenter:
    """Attributes: p, the probability of each of ADA's transformations, a scalar tensor."""

    def __init__(self, config: NoAugment | DiffAugment | Ada, device: torch.device) -> None:
        self.config = config
        self.p = torch.tensor(at(config.p, 0) if isinstance(config, Ada) else 0.0, device=device)

    @property
    def every_steps(self) -> int | None:
        """Steps between two moves of p by D's accuracy; None: p does not follow it."""
        return self.config.every_steps if isinstance(self.config, Ada) and self.config.target is not None else None

    def __call__(self, images: Tensor, *draws: Draws) -> Tensor:
        """images: [B, 3, H, W] in [-1, 1]; draws: whose rows they are, one after another; their lengths add up to B."""
        match self.config:
            case DiffAugment(policy=policy):
                return diff_augment(images, _uniform(draws, DIFF_UNIFORMS), policy)
            case Ada(policy=policy):
                normal = torch.cat([draw.of(f"{draw.purpose}/normal").normal([ADA_NORMALS]) for draw in draws])
                return ada_augment(images, _uniform(draws, ADA_UNIFORMS), normal, self.p, policy)
        return images

    def follow(self, images_seen: int) -> None:
        """p as its schedule has it, where it has one."""
        if isinstance(self.config, Ada) and self.config.target is None:
            self.p.fill_(at(self.config.p, images_seen))

    def move(self, real_accuracy: Tensor, images: int) -> None:
        """ADA's controller. real_accuracy: share of reals, over all ranks and since the last move, that D took for
        real; images: real images since then."""
        if isinstance(self.config, Ada) and self.config.target is not None:
            mean_sign = 2 * real_accuracy.to(self.p) - 1
            self.p.copy_(next_p(self.p, mean_sign, self.config.target, images, self.config.speed_images))


def _uniform(draws: tuple[Draws, ...], numbers: int) -> Tensor:
    return torch.cat([draw.uniform([numbers]) for draw in draws])
