"""Networks by family; `build_generator` and `build_discriminator` make them.

A generator takes (latents [B, L], labels [B] or None) and returns [B, 3, H, W] in [-1, 1]; r3gan's images may lie a
little outside, since its last layer is linear, as in its paper. A discriminator takes (images [B, 3, H, W] in [-1, 1],
labels [B] or None) and returns logits [B], whose sign the loss interprets. It has a KeyedDropout before its last dense
layer, even if p = 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from distgan.config.base import assert_never
from distgan.config.networks import (
    DcganDiscriminator,
    DcganGenerator,
    DiscriminatorConfig,
    GeneratorConfig,
    R3ganDiscriminator,
    R3ganGenerator,
    SeedDiscriminator,
    SeedGenerator,
    SnganDiscriminator,
    SnganGenerator,
)
from distgan.networks import dcgan, r3gan, seed_dcgan, sngan, spectral_norm
from distgan.networks.batch_norm import GlobalBatchNorm
from distgan.utils.errors import ConfigError
from distgan.utils.rng import key


def build_generator(config: GeneratorConfig, size: int, classes: int, seed: int = 0) -> nn.Module:
    """A generator of size x size images of `classes` classes; its weights are a function of the seed.

    Raises ConfigError if the family cannot make that size.
    """
    with _seeded(seed, "init/g"):
        match config:
            case SeedGenerator():
                return seed_dcgan.Generator(config, size, classes)
            case DcganGenerator():
                return dcgan.Generator(config, size, classes)
            case SnganGenerator():
                return sngan.Generator(config, size, classes)
            case R3ganGenerator():
                return r3gan.Generator(config, size, classes)
            case _:
                return assert_never(config)


def build_discriminator(config: DiscriminatorConfig, size: int, classes: int, seed: int = 0) -> nn.Module:
    """A discriminator of size x size images of `classes` classes; its weights are a function of the seed.

    With `config.spectral_norm` every weight is normalised; call `spectral_norm.power_iteration` after each update.
    Raises ConfigError if the family cannot take that size, or cannot be normalised.
    """
    with _seeded(seed, "init/d"):
        network = _discriminator(config, size, classes)
        if config.spectral_norm:
            spectral_norm.normalise(network)
        return network


def _discriminator(config: DiscriminatorConfig, size: int, classes: int) -> nn.Module:
    match config:
        case SeedDiscriminator():
            return seed_dcgan.Discriminator(config, size, classes)
        case DcganDiscriminator():
            return dcgan.Discriminator(config, size, classes)
        case SnganDiscriminator():
            return sngan.Discriminator(config, size, classes)
        case R3ganDiscriminator():
            return r3gan.Discriminator(config, size, classes)
        case _:
            return assert_never(config)


def check_same_answer(network: nn.Module, processes: int, accumulation: int) -> None:
    """Raises ConfigError that names a layer whose result depends on how the batch is split.

    Dropout must be keyed (dropout.py). Batch normalisation must use the images of all processes (batch_norm.py, or
    torch's SyncBatchNorm), and allows no accumulation, since it uses one micro-batch at a time.
    """
    for name, layer in network.named_modules():
        if isinstance(layer, nn.modules.dropout._DropoutNd):
            raise ConfigError(f"layer {name} ({type(layer).__name__}) draws each process's own mask; use KeyedDropout")
        if not isinstance(layer, (GlobalBatchNorm, _BatchNorm)):
            continue
        if processes > 1 and not isinstance(layer, (GlobalBatchNorm, nn.SyncBatchNorm)):
            raise ConfigError(
                f"layer {name} ({type(layer).__name__}) would see the images of one process only, so {processes} "
                "processes would train another model than one; use GlobalBatchNorm, or one process"
            )
        if accumulation > 1:
            raise ConfigError(
                f"layer {name} ({type(layer).__name__}) would see one micro-batch at a time, so "
                f"train.accumulation={accumulation} would train another model than 1; use train.accumulation=1, or a "
                "family without batch normalisation, such as seed_dcgan or r3gan"
            )


@contextmanager
def _seeded(seed: int, purpose: str) -> Iterator[None]:
    """Seeds torch's CPU generator with the key of (seed, purpose), and restores it at the end."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, purpose))
        yield


def to_device(network: nn.Module, device: torch.device) -> nn.Module:
    """Moves a network in place, its convolutions' weights to channels_last, which is fastest; returns the network."""
    return network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
