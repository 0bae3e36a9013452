"""What several families share: first weights, the first and last layers of a discriminator, halvings of a size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Protocol

from torch import Tensor, nn

from distgan.config.networks import RECIPES_BY_SIZE
from distgan.networks.dropout import KeyedDropout
from distgan.utils.errors import ConfigError

MIN_SIDE = 4  # height and width of the smallest maps, pixels
MAX_HALVINGS = 10  # from the largest images to the smallest maps
MAX_STAGES = 12  # of a configuration


class Head(nn.Module):
    """features [B, F], labels [B] int64 or None -> logits [B]: dropout, dense; with classes a projection is added.

    classes: 0 for none. The projection is the class's vector times the features. Source: Miyato & Koyama 2018,
    arXiv:1802.05637.
    """

    def __init__(self, features: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = KeyedDropout(dropout)
        self.dense = nn.Linear(features, 1)
        self.project = nn.Embedding(classes, features) if classes else None

    def forward(self, features: Tensor, labels: Tensor | None) -> Tensor:
        features = self.dropout(features)
        logits = self.dense(features).squeeze(1)
        if self.project is not None:
            assert labels is not None, "a conditional discriminator needs labels"
            logits = logits + (self.project(labels) * features).sum(1)
        return logits


class HasFeatures(Protocol):
    """A discriminator whose forward is `judge` of `features`."""

    def features(self, images: Tensor) -> list[Tensor]:
        """Maps at several scales, each [B, C, H, W], of images [B, channels, size, size] in [-1, 1]."""

    def judge(self, maps: Sequence[Tensor], labels: Tensor | None) -> Tensor:
        """Logits [B] or [B, heads] of the images with these maps."""


def has_features(discriminator: nn.Module) -> bool:
    """Whether a discriminator has the two methods of `HasFeatures`."""
    return all(callable(getattr(discriminator, name, None)) for name in ("features", "judge"))


def has_fixed_features(discriminator: nn.Module) -> bool:
    """Whether training leaves D's features as they are: `fixed_features` is true, and forward takes known `maps`."""
    return has_features(discriminator) and bool(getattr(discriminator, "fixed_features", False))


def glorot(module: nn.Module, gain: float = 1.0) -> None:
    """Sets Glorot-uniform weights times a gain, and zero biases: with 1 Keras' defaults."""
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)):
        nn.init.xavier_uniform_(module.weight, gain)
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)) and module.bias is not None:
        nn.init.zeros_(module.bias)


def verdict(logits: Tensor) -> Tensor:
    """D's logit of each image, [B]: the mean over its heads, if it has several ([B, heads])."""
    return logits.mean(1) if logits.ndim == 2 and logits.shape[1] > 1 else logits


def halvings(family: str, size: int, minimum: int) -> int:
    """The n of size = 4 * 2**n, at least `minimum`. Raises ConfigError with the nearest size if there is none.

    family: key and value for the error, such as generator.family=dcgan.
    """
    sizes = [MIN_SIDE * 2**n for n in range(minimum, MAX_HALVINGS + 1)]
    if size not in sizes:
        nearest = min(sizes, key=lambda side: abs(side - size))
        recipe = RECIPES_BY_SIZE.get(family.partition("=")[2], {}).get(nearest)
        raise ConfigError(
            f"{family} needs images of {sizes[0]}x{sizes[0]}, doubled any number of times, and the images are "
            f"{size}x{size}; use images of {nearest}x{nearest}{f' (--config {recipe})' if recipe else ''}, or "
            "family=seed_dcgan"
        )
    return minimum + sizes.index(size)


def check_stages(key: str, family: str, stages: int, size: int) -> None:
    """Raises ConfigError, with the recipe that fits, unless there is a stage for each size from 4x4 to size x size.

    key: of the stages' widths, such as generator.widths.
    """
    made = MIN_SIDE * 2 ** (stages - 1)
    if size == made:
        return
    recipes = RECIPES_BY_SIZE.get(family, {})
    nearest = min(recipes, key=lambda side: (abs(side - size), -side), default=made)
    fixes = [f"--config {recipes[size]}"] if size in recipes else []
    fixes += [_stages(n) for n in range(1, MAX_STAGES + 1) if MIN_SIDE * 2 ** (n - 1) == size]
    if size not in recipes and nearest != made:
        fixes.append(f"images of {nearest}x{nearest} with --config {recipes[nearest]}")
    fixes.append(f"images of {made}x{made}")
    raise ConfigError(
        f"{key} has {_stages(stages)}, which is for images of {made}x{made}, and the images are {size}x{size}; use "
        f"{', or '.join(fixes)}"
    )


def _stages(count: int) -> str:
    return "1 stage" if count == 1 else f"{count} stages"


def feature_layers(discriminator: nn.Module) -> list[nn.Module]:
    """The layers of D's feature stack that have weights, from the image on.

    The stack is D's `layers` or `blocks`, an nn.Sequential from the image to the features; a layer is an entry of it:
    a convolution (seed_dcgan, dcgan, r3gan) or a residual block (sngan, r3gan). The dense layer and the embedding of
    the classes are not in it. Empty for a D without such a stack.
    """
    stacks = (getattr(discriminator, name, None) for name in ("layers", "blocks"))
    stack = next((stack for stack in stacks if isinstance(stack, nn.Sequential)), ())
    return [layer for layer in stack if any(True for _ in layer.parameters())]


def freeze_layers(discriminator: nn.Module, count: int) -> None:
    """Takes the first `count` layers of D's feature stack out of training: their weights need no gradient any more.

    Source: FreezeD, Mo et al. 2020, arXiv:2002.10964. Raises ConfigError if D has fewer layers.
    """
    layers = feature_layers(discriminator)
    if count > len(layers):
        fix = f"use 0 to {len(layers)}" if layers else "use 0 (a D of your own: give it an nn.Sequential named layers)"
        raise ConfigError(f"discriminator.freeze_layers={count}: this D has a stack of {len(layers)} layers; {fix}")
    for weight in chain.from_iterable(layer.parameters() for layer in layers[:count]):
        weight.requires_grad_(False)
