"""Adversarial losses: pure functions of logits and, for D, of the noise on its labels.

One object per loss, with one signature for all: `discriminator`, `generator`, and `probability`, which says what a
logit means.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from distgan.recipe import LossConfig

KERAS_EPSILON = 1e-7


class BinaryCrossEntropy:
    """Cross-entropy between sigmoid(logit) and noisy, smoothed labels (Goodfellow et al. 2014; non-saturating for G).

    sigmoid(logit) is the probability of label 1, which belongs to real or to fake pictures by `config.real_label`.
    """

    def __init__(self, config: LossConfig) -> None:
        self.real, self.fake = float(config.real_label), float(1 - config.real_label)
        self.noise, self.inward = config.label_noise, config.noise_direction == "inward"
        self.smoothing = config.label_smoothing
        clipped = config.cross_entropy == "keras_clipped"
        self.entropy: Callable[[Tensor, Tensor], Tensor] = (
            keras_cross_entropy if clipped else F.binary_cross_entropy_with_logits
        )

    def discriminator(self, fake: Tensor, real: Tensor, fake_noise: Tensor, real_noise: Tensor) -> Tensor:
        """Mean over the joined batch. Logits [B] of fake and real pictures; noise [B] each, uniform in [0, 1)."""
        towards_fake = self.fake - self.real
        smoothed = self.real + self.smoothing * towards_fake
        inward = (-towards_fake, towards_fake) if self.inward else (1.0, 1.0)
        fake_targets = self.fake + inward[0] * self.noise * fake_noise
        real_targets = smoothed + inward[1] * self.noise * real_noise
        return self.entropy(torch.cat([fake, real]), torch.cat([fake_targets, real_targets]))

    def generator(self, fake: Tensor) -> Tensor:
        """Mean over logits [B] of fakes that are to pass for real: no noise, no smoothing."""
        return self.entropy(fake, torch.full_like(fake, self.real))

    def probability(self, logits: Tensor) -> Tensor:
        """[B] probability that each picture is real, in D's opinion."""
        return torch.sigmoid(logits if self.real == 1 else -logits)


def gradient_penalty(images: Tensor, logits: Tensor) -> Tensor:
    """Squared input-gradient norm per image: R1 on reals.

    images: [B, C, H, W] in [-1, 1], requiring grad; logits: one per image that is to be penalised, before any sigmoid.
    Returns [B], unweighted, zero for an image that no logit depends on; the caller applies gamma / 2 and the mean.
    Raises RuntimeError if images do not require grad.
    Source: Mescheder et al. 2018, arXiv:1801.04406.
    """
    (gradients,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradients.square().flatten(1).sum(1)


def keras_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Keras' binary cross-entropy: on probabilities clipped to [1e-7, 1 - 1e-7]; bounded for targets outside [0, 1]."""
    probability = torch.sigmoid(logits).clamp(KERAS_EPSILON, 1 - KERAS_EPSILON)
    return -(targets * probability.log() + (1 - targets) * (1 - probability).log()).mean()
