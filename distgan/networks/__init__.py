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
from torch.nn.modules.batchnorm import _BatchNorm

from distgan.errors import ConfigError
from distgan.networks import seed_dcgan
from distgan.recipe import SeedDiscriminator, SeedGenerator
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


def check_same_answer(network: nn.Module, processes: int) -> None:
    """Raises ConfigError for a layer whose result depends on the process or on the number of processes, by its name.

    Dropout must be keyed (dropout.py); BatchNorm sees each process's own pictures only: with several processes it must
    be SyncBatchNorm.
    """
    for name, layer in network.named_modules():
        if isinstance(layer, nn.modules.dropout._DropoutNd):
            raise ConfigError(f"layer {name} ({type(layer).__name__}) draws each process's own mask; use KeyedDropout")
        if isinstance(layer, _BatchNorm) and not isinstance(layer, nn.SyncBatchNorm) and processes > 1:
            raise ConfigError(
                f"layer {name} ({type(layer).__name__}) would see the pictures of one process only, so {processes} "
                "processes would train another model than one; use SyncBatchNorm (GPUs), or one process"
            )


@contextmanager
def _seeded(seed: int, purpose: str) -> Iterator[None]:
    """Inside, torch's CPU generator starts from the key; outside it is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, purpose))
        yield
