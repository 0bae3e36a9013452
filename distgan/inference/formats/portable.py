"""A generator without distgan: latents, and weights of the classes, in; images out."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from distgan.inference.generator import Generator

LATENTS, WEIGHTS, IMAGES = "latents", "class_weights", "images"  # names of inputs and output
METADATA = "distgan.json"  # name of the description in a file


class Portable(nn.Module):
    """latents, float32 [B, latent_dim], and, of a conditional generator, weights of the classes, float32 [B, classes]
    -> images, float32 [B, channels, size, size] in [-1, 1].

    A weight of 1 is the class; weights that add up to 1 mix classes. The network computes in the type of its weights.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.dtype = next(network.parameters()).dtype

    def forward(self, latents: Tensor, class_weights: Tensor | None = None) -> Tensor:
        weights = None if class_weights is None else class_weights.to(self.dtype)
        images: Tensor = self.network(latents.to(self.dtype), weights)
        return images.float().clamp(-1, 1)


def example(generator: Generator, count: int = 2) -> tuple[Tensor, ...]:
    """Inputs of `count` rows: the seeds 0, 1, ..., as `sample` takes them."""
    seeds = range(count)
    labels = generator.labels(seeds)
    if labels is None:
        return (generator.latents(seeds),)
    return generator.latents(seeds), nn.functional.one_hot(labels, len(generator.class_names)).float()


def names_of(generator: Generator) -> tuple[str, ...]:
    """Names of the inputs."""
    return (LATENTS, WEIGHTS) if generator.conditional else (LATENTS,)


def text_of(generator: Generator) -> str:
    """What goes in and comes out, for a reader of the file."""
    side, classes = generator.size, len(generator.class_names)
    weights = f" and class_weights, float32 [B, {classes}], each row adds up to 1," if generator.conditional else ""
    return (
        f"A GAN's generator: latents, float32 [B, {generator.latent_dim}], standard normal,{weights} -> images, "
        f"float32 [B, {generator.channels}, {side}, {side}] in [-1, 1]. Its description: {METADATA} in the metadata."
    )


def facts_of(generator: Generator, model: Portable) -> str:
    """The description that travels in the file, JSON: sizes, classes, range, precision, digest, scores."""
    description = generator.description
    facts: dict[str, Any] = {
        "latent_dim": generator.latent_dim,
        "size": generator.size,
        "channels": generator.channels,
        "class_names": list(generator.class_names) if generator.conditional else [],
        "value_range": [-1, 1],
        "precision": "fp16" if model.dtype == torch.float16 else "fp32",
        "images_seen": generator.images_seen,
        "weight_digest": generator.weight_digest,
        "scores": description.scores,
    }
    return json.dumps(facts, sort_keys=True)


def largest_difference(one: Tensor, other: Tensor) -> int:
    """Grey levels between two float images in [-1, 1], as uint8."""
    levels = [images.add(1).mul(127.5).round().clamp(0, 255).to(torch.int64) for images in (one, other)]
    return int((levels[0] - levels[1]).abs().max())
