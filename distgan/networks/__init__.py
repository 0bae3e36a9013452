"""Networks by family. `build_generator` and `build_discriminator` are the only doors.

Every generator takes (latents [B, L], labels [B] or None) and returns [B, 3, H, W] in [-1, 1]; every discriminator
takes (images [B, 3, H, W] in [-1, 1], labels [B] or None) and returns logits [B]. What the sign of a logit means is
the loss's affair.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from distgan.config import SeedDiscriminator, SeedGenerator
from distgan.networks import seed_dcgan
from distgan.rng import key


def build_generator(config: SeedGenerator, size: int, classes: int, seed: int = 0) -> nn.Module:
    """G for size x size pictures of `classes` classes; its weights are a function of the seed.

    Raises ConfigError if it cannot make that size.
    """
    with _seeded(seed, "init/g"):
        return seed_dcgan.Generator(config, size, classes)


def build_discriminator(config: SeedDiscriminator, size: int, classes: int, seed: int = 0) -> nn.Module:
    """D for size x size pictures of `classes` classes; its weights are a function of the seed.

    Raises ConfigError if the size is too small for it.
    """
    with _seeded(seed, "init/d"):
        return seed_dcgan.Discriminator(config, size, classes)


@contextmanager
def _seeded(seed: int, purpose: str) -> Iterator[None]:
    """Inside, torch's CPU generator starts from the key; outside it is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, purpose))
        yield
