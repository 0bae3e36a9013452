"""What a training by the tutorial's recipe begins with and draws, as arrays in Keras' layouts.

An exchange has, for S steps with B images each: g_weight_0, g_weight_1, ... and d_weight_0, ... (kernel and bias of
each layer, from the input on); reals, uint8 [S, B, H, W, channels]; latents_d and latents_g, [S, B, latent_dim];
noise, of the labels of B fakes and B reals, [S, 2B] in [0, 1); kept_d, bool [S, 2B, F], and kept_g, bool [S, B, F]:
the features that D's dropout keeps.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distgan.networks.dropout import key_layers
from distgan.networks.seed_dcgan import Discriminator, Generator
from distgan.training.own_loop import Trainer
from distgan.utils.rng import Draws

Array = NDArray[Any]
Maps = tuple[int, int, int]  # channels, height, width


def kernel(weight: Array) -> Array:
    """Keras' kernel of a convolution, [out, in, h, w] -> [h, w, in, out], or of a transposed one, [in, out, h, w] ->
    [h, w, out, in].
    """
    return weight.transpose(2, 3, 1, 0)


def channels_last(flat: Array, maps: Maps) -> Array:
    """[..., channels * height * width] -> the same numbers in the order height, width, channels."""
    lead = flat.shape[:-1]
    return np.moveaxis(flat.reshape(*lead, *maps), -3, -1).reshape(*lead, -1)


def generator_weights(generator: Generator) -> list[Array]:
    """Kernels and biases of a generator, in Keras' layouts and order."""
    dense, *convolutions = weighted_layers(generator)
    stem = generator.stem_shape
    return [channels_last(dense[0].T, stem), channels_last(dense[1], stem), *_convolutions(convolutions)]


def discriminator_weights(discriminator: Discriminator) -> list[Array]:
    """Kernels and biases of a discriminator, in Keras' layouts and order."""
    *convolutions, dense = weighted_layers(discriminator)
    return [*_convolutions(convolutions), channels_last(dense[0], last_maps(discriminator)).T, dense[1]]


def weighted_layers(network: nn.Module) -> list[tuple[Array, Array]]:
    """Weight and bias of each layer that has them, from the input on, as copies."""
    layers = (layer for layer in network.modules() if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)))
    return [(_array(layer.weight), _array(cast(Tensor, layer.bias))) for layer in layers]


def last_maps(discriminator: Discriminator) -> Maps:
    """Shape of the maps that a discriminator flattens."""
    channels = [layer.out_channels for layer in discriminator.modules() if isinstance(layer, nn.Conv2d)][-1]
    side = round((discriminator.dense.in_features / channels) ** 0.5)
    return channels, side, side


def networks(trainer: Trainer) -> tuple[Generator, Discriminator]:
    """G and D of a trainer of seed_frogs."""
    return cast(Generator, trainer.core.g.network), cast(Discriminator, trainer.core.d.network)


def exchange_of(trainer: Trainer, steps: int) -> dict[str, Array]:
    """The exchange of a trainer's next steps, of which it has made none."""
    generator, discriminator = networks(trainer)
    weights = {"g": generator_weights(generator), "d": discriminator_weights(discriminator)}
    named = {f"{name}_weight_{place}": each for name, all_ in weights.items() for place, each in enumerate(all_)}
    images = (batch.images.permute(0, 2, 3, 1).numpy() for batch in islice(trainer.reals.batches(0), steps))
    drawn = [dict(draws_of(trainer, trainer.core.draws.at("", step))) for step in range(steps)]
    return named | {"reals": np.stack(list(images))} | {name: np.stack([d[name] for d in drawn]) for name in drawn[0]}


def draws_of(trainer: Trainer, draws: Draws) -> Iterator[tuple[str, Array]]:
    """The random numbers of one step, by their names in an exchange. draws: of this step."""
    core, discriminator = trainer.core, networks(trainer)[1]
    for player in ("d", "g"):
        yield f"latents_{player}", draws.of(f"latent/{player}").normal([core.latent_dim]).numpy()
    yield "noise", np.concatenate([draws.of(f"label/{kind}").uniform().numpy() for kind in ("fake", "real")])
    for player, kinds in (("d", ("fake", "real")), ("g", ("g",))):
        key_layers(core.d_keyed, *(draws.of(f"dropout/d/{kind}") for kind in kinds))
        shape = len(kinds) * len(core.draws.rows), discriminator.dense.in_features
        kept = core.d_dropouts[0].drawn(torch.ones(shape)) > 0
        yield f"kept_{player}", channels_last(kept.numpy(), last_maps(discriminator))


def _convolutions(layers: list[tuple[Array, Array]]) -> list[Array]:
    return [array for weight, bias in layers for array in (kernel(weight), bias)]


def _array(weight: Tensor) -> Array:
    return np.array(weight.detach().cpu().numpy())
