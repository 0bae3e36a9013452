"""D's features in a step: where they are looked at by themselves, and where both updates may use the same."""

from __future__ import annotations

from typing import cast

from torch import nn

from distgan.config.schema import Config
from distgan.networks.layers import HasFeatures, has_features, has_fixed_features
from distgan.utils.errors import ConfigError


def featured(discriminator: nn.Module, config: Config) -> HasFeatures | None:
    """D, where a step needs its features beside its logits, otherwise None.

    Raises ConfigError if mode seeking is to compare features and D has none.
    """
    if not config.loss.mode_seeking.wants_features:
        return cast(HasFeatures, discriminator) if reusable(discriminator, config) else None
    if not has_features(discriminator):
        raise ConfigError(
            "loss.mode_seeking.on=features compares the features of D, and this discriminator has none to compare; "
            "use discriminator.family=projected, or on=images"
        )
    return cast(HasFeatures, discriminator)


def reusable(discriminator: nn.Module, config: Config) -> bool:
    """Whether G's update finds the features of D's: nothing trains them, and the images are the same, unaugmented."""
    return config.train.share_fakes and config.augment.kind == "none" and has_fixed_features(discriminator)
