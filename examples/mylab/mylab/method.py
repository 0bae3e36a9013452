"""A loss and a metric."""

import torch
from pydantic import PositiveFloat
from torch import Tensor
from torch.nn.functional import softplus

from distgan.extend import Comparison, LossSettings


class MarginLoss:
    """Logistic, with a margin that D must keep."""

    class Settings(LossSettings):
        margin: PositiveFloat = 1.0

    needs_real_logits = needs_label_noise = False

    def __init__(self, settings: Settings) -> None:
        self.margin = settings.margin

    def discriminator(self, fake: Tensor, real: Tensor) -> Tensor:
        return softplus(self.margin + fake).mean() + softplus(self.margin - real).mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return softplus(-fake).mean()

    def real_probabilities(self, fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        return fake.sigmoid(), real.sigmoid()


class Nearest:
    """Mean distance from a generated image's features to the nearest real ones."""

    better = "lower"

    def __init__(self, settings: object) -> None:
        pass

    def __call__(self, comparison: Comparison) -> float:
        return torch.cdist(comparison.fake_features, comparison.real_features).min(dim=1).values.mean().item()
