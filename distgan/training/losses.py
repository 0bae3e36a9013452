"""Adversarial losses: pure functions of logits and, for the seed recipe's, of the noise on D's labels.

`build_loss` gives an object per configuration, with one signature for all: `discriminator`, `generator`, and
`real_probabilities`, the meaning of the logits. Every loss is a mean over images. A high logit means "real", except
where `BinaryCrossEntropy` is configured otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from distgan.config.method import LOSSES, LossConfig, Penalties

KERAS_EPSILON = 1e-7


RealProbabilities = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Maps logits [B] of fakes and of reals to each image's probability of being real."""


class AdversarialLoss(Protocol):
    """A loss as the trainer calls it."""

    @property
    def needs_real_logits(self) -> bool:
        """True if `generator` takes D's logits of real images; each fake then has the class of its real image."""

    @property
    def needs_label_noise(self) -> bool:
        """True if `discriminator` takes noise."""

    def discriminator(self, fake: Tensor, real: Tensor, *noise: Tensor) -> Tensor:
        """Logits [B] of fakes and of reals; noise, where the loss needs it: [B] for each, uniform in [0, 1)."""

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Logits [B] of fakes; real: logits [B] of real images, where the loss needs them."""

    @property
    def real_probabilities(self) -> RealProbabilities:
        """What the logits mean."""


class BinaryCrossEntropy:
    """Cross-entropy between sigmoid(logit) and noisy, smoothed labels (Goodfellow et al. 2014; non-saturating for G).

    sigmoid(logit) is the probability of label 1, which belongs to real or to fake images by `config.real_label`.
    """

    needs_real_logits = False

    def __init__(self, config: LossConfig) -> None:
        self.real, self.fake = float(config.real_label), float(1 - config.real_label)
        self.noise, self.inward = config.label_noise, config.noise_direction == "inward"
        self.needs_label_noise = config.label_noise > 0
        self.smoothing = config.label_smoothing
        clipped = config.cross_entropy == "keras_clipped"
        self.entropy: Callable[[Tensor, Tensor], Tensor] = (
            keras_cross_entropy if clipped else F.binary_cross_entropy_with_logits
        )

    def discriminator(self, fake: Tensor, real: Tensor, *noise: Tensor) -> Tensor:
        """Mean over the joined batch. Logits [B] of fakes and of reals; noise, if needed: [B] for each."""
        towards_fake = self.fake - self.real
        targets = [torch.full_like(fake, self.fake), torch.full_like(real, self.real + self.smoothing * towards_fake)]
        if self.needs_label_noise:
            inward = (-towards_fake, towards_fake) if self.inward else (1.0, 1.0)
            targets = [target + way * self.noise * by for target, way, by in zip(targets, inward, noise, strict=True)]
        return self.entropy(torch.cat([fake, real]), torch.cat(targets))

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Mean over logits [B] of fakes that are to pass for real: no noise, no smoothing."""
        return self.entropy(fake, torch.full_like(fake, self.real))

    def real_probabilities(self, fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Probability that each image is real, by D: [B] of the fakes, [B] of the reals."""
        sign = 1 if self.real == 1 else -1
        return torch.sigmoid(sign * fake), torch.sigmoid(sign * real)


class LossFunctions(NamedTuple):
    """A loss without settings. Logits are [B]; noise is not used."""

    of_discriminator: Callable[[Tensor, Tensor], Tensor]
    of_generator: Callable[[Tensor, Tensor | None], Tensor]
    real_probabilities: RealProbabilities
    needs_real_logits: bool = False
    needs_label_noise: bool = False

    def discriminator(self, fake: Tensor, real: Tensor, *_noise: Tensor) -> Tensor:
        return self.of_discriminator(fake, real)

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return self.of_generator(fake, real)


def logistic_d(fake: Tensor, real: Tensor) -> Tensor:
    """-log(1 - sigmoid(fake)) - log(sigmoid(real)): Goodfellow et al. 2014, section 3."""
    return F.softplus(fake).mean() + F.softplus(-real).mean()


def logistic_g(fake: Tensor, _real: Tensor | None) -> Tensor:
    """-log(sigmoid(fake)), non-saturating: Goodfellow et al. 2014, section 3."""
    return F.softplus(-fake).mean()


def hinge_d(fake: Tensor, real: Tensor) -> Tensor:
    """Lim & Ye 2017 (arXiv:1705.02894); Miyato et al. 2018 (arXiv:1802.05957), equation 16."""
    return F.relu(1 + fake).mean() + F.relu(1 - real).mean()


def least_squares_d(fake: Tensor, real: Tensor) -> Tensor:
    """Halves of the squared distances to 0 and 1: Mao et al. 2017 (arXiv:1611.04076), equation 9."""
    return (fake.square().mean() + (real - 1).square().mean()) / 2


def least_squares_g(fake: Tensor, _real: Tensor | None) -> Tensor:
    return (fake - 1).square().mean() / 2


def wasserstein_d(fake: Tensor, real: Tensor) -> Tensor:
    """D as a critic: Arjovsky et al. 2017 (arXiv:1701.07875), section 3. It needs a gradient penalty."""
    return fake.mean() - real.mean()


def raise_fakes(fake: Tensor, _real: Tensor | None) -> Tensor:
    """-mean(fake): G's loss beside the hinge loss or a critic."""
    return -fake.mean()


def relativistic_d(fake: Tensor, real: Tensor) -> Tensor:
    """Each real against the fake of its place: Jolicoeur-Martineau 2019 (arXiv:1807.00734); Huang et al. 2024
    (arXiv:2501.05441), equation 2."""
    return F.softplus(fake - real).mean()


def relativistic_g(fake: Tensor, real: Tensor | None) -> Tensor:
    """The same with the places exchanged."""
    assert real is not None, "a relativistic loss needs D's logits of real images in G's step, too"
    return F.softplus(real - fake).mean()


def by_sigmoid(fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    return torch.sigmoid(fake), torch.sigmoid(real)


def by_target(fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Least squares: 0 is fake, 1 is real."""
    return fake.clamp(0, 1), real.clamp(0, 1)


def by_pairs(fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """No logit means anything alone: that each is the more real one of its pair."""
    return torch.sigmoid(fake - real), torch.sigmoid(real - fake)


LOGISTIC = LossFunctions(logistic_d, logistic_g, by_sigmoid)
HINGE = LossFunctions(hinge_d, raise_fakes, by_sigmoid)
LEAST_SQUARES = LossFunctions(least_squares_d, least_squares_g, by_target)
WASSERSTEIN = LossFunctions(wasserstein_d, raise_fakes, by_pairs)
RELATIVISTIC = LossFunctions(relativistic_d, relativistic_g, by_pairs, needs_real_logits=True)


def mean_over_heads(loss: Callable[..., Tensor], *logits: Tensor) -> Tensor:
    """A loss of logits [B], or the mean of the losses of each head of D for logits [B, heads]. Returns a scalar."""
    if logits[0].ndim == 1:
        return loss(*logits)
    by_head = zip(*(part.unbind(1) for part in logits), strict=True)
    return torch.stack([loss(*head) for head in by_head]).mean()


def build_loss(config: Penalties) -> AdversarialLoss:
    """The configured loss."""
    return cast(AdversarialLoss, LOSSES.build(config))


def keras_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Keras' binary cross-entropy: on probabilities clipped to [1e-7, 1 - 1e-7]; bounded for targets outside [0, 1]."""
    probability = torch.sigmoid(logits).clamp(KERAS_EPSILON, 1 - KERAS_EPSILON)
    return -(targets * probability.log() + (1 - targets) * (1 - probability).log()).mean()


def discriminator_statistics(
    fake_logits: Tensor, real_logits: Tensor, real_probabilities: RealProbabilities
) -> dict[str, Tensor]:
    """Means of D's logits, of its probabilities that an image is real, and its accuracies. Logits: [b]."""
    fake, real = real_probabilities(fake_logits, real_logits)
    return {
        "d/fake_logit": fake_logits.mean(),
        "d/real_logit": real_logits.mean(),
        "d/fake_prob": fake.mean(),
        "d/real_prob": real.mean(),
        "d/fake_accuracy": (fake < 0.5).to(fake.dtype).mean(),
        "d/real_accuracy": (real > 0.5).to(real.dtype).mean(),
    }
