"""Networks by family; `build_generator` and `build_discriminator` make them.

What a network is and does: the contracts in config/contracts.py. The images of r3gan may lie a little outside [-1, 1],
since its last layer is linear, as in its paper.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from pydantic import BaseModel
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from distgan.config.networks import DISCRIMINATORS, GENERATORS, DiscriminatorConfig, GeneratorConfig
from distgan.config.outside import OutsideSection
from distgan.config.registry import Registry, error_text
from distgan.networks import spectral_norm
from distgan.networks.batch_norm import GlobalBatchNorm
from distgan.networks.classifier import Classifier
from distgan.networks.layers import verdict
from distgan.utils.errors import ConfigError
from distgan.utils.rng import key


def build_generator(config: GeneratorConfig, size: int, classes: int, seed: int = 0, *, channels: int = 3) -> nn.Module:
    """A generator of size x size images of `classes` classes; its weights are a function of the seed.

    channels: 3 for RGB, 1 for gray. Raises ConfigError if the family cannot make that size, or gray images.
    """
    with _seeded(seed, "init/g"):
        generator = _build(GENERATORS, config, (size, classes), channels)
        if isinstance(config, OutsideSection):
            check_forward(generator, (config.latent_dim,), (channels, size, size), config.conditional)
        return generator


def build_discriminator(
    config: DiscriminatorConfig, size: int, classes: int, seed: int = 0, *, channels: int = 3
) -> nn.Module:
    """A discriminator of size x size images of `classes` classes; its weights are a function of the seed.

    channels: 3 for RGB, 1 for gray. With `config.spectral_norm` every weight is normalised; call
    `spectral_norm.power_iteration` after each update.
    Raises ConfigError if the family cannot take that size, or gray images, or cannot be normalised.
    """
    with _seeded(seed, "init/d"):
        network = _build(DISCRIMINATORS, config, (size, classes), channels)
        if isinstance(config, OutsideSection):
            check_forward(network, (channels, size, size), (), config.conditional)
        if config.spectral_norm:
            spectral_norm.normalise(network)
        return network


def build_classifier(size: int, channels: int, classes: int, seed: int) -> Classifier:
    """The small classifier of size x size images of `classes` classes; its weights are a function of the seed."""
    with _seeded(seed, "init/classifier"):
        return Classifier(size, channels, classes)


def takes_channels(network: Callable[..., object]) -> bool:
    """Whether a network's constructor has a parameter `channels`, so that it can be built for gray images."""
    return callable(network) and "channels" in inspect.signature(network).parameters


def _build(registry: Registry, config: BaseModel, arguments: tuple[int, int], channels: int) -> nn.Module:
    """The chosen network. It is told the channels if it can be; without the parameter it is for RGB images."""
    name = registry.name_of(config)
    named = {"channels": channels} if takes_channels(registry.load(name)) else {}
    if channels != 3 and not named:
        raise ConfigError(
            f"{registry.key}={name} takes no argument `channels`, so it is for RGB images, and the images are gray (1 "
            "channel); give its __init__ a parameter channels, or use another family, such as dcgan"
        )
    return cast(nn.Module, registry.build(config, *arguments, **named))


@torch.no_grad()
def check_forward(network: nn.Module, given: tuple[int, ...], wanted: tuple[int, ...], conditional: bool) -> None:
    """Raises ConfigError if a network from outside returns another shape, or draws random numbers of its own.

    given, wanted: shapes of a row of the input and of the output.
    """
    name = f"{type(network).__module__}:{type(network).__name__}"
    rows, labels = torch.randn(2, *given), torch.zeros(2, dtype=torch.int64) if conditional else None
    training = network.training
    network.eval()
    try:
        one, same = network(rows, labels), network(rows, labels)
    except Exception as error:
        raise ConfigError(
            f"{name}: forward fails: {error_text(error)}; `distgan check {name}` says what it must do"
        ) from error
    network.train(training)
    shape = one.shape if wanted else verdict(one).shape
    if tuple(shape) != (2, *wanted):
        raise ConfigError(f"{name}: forward returns the shape {list(one.shape)} for 2 rows, not {[2, *wanted]}")
    if not one.is_meta and not torch.equal(one, same):
        raise ConfigError(
            f"{name}: the same input gives two different results, so forward draws random numbers, and a seed has no "
            "image of its own; take them from the latent vector, or leave them out"
        )


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
