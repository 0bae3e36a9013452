"""The part of the configuration that says how the game is played: losses, update rules, averages, augmentation.

Every choice is one section with a name in it (`loss.name`, `augment.kind`; `generator.family` in families.py); the
choices are independent of each other, so that a new combination is a YAML file.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from distgan.config.base import (
    Frozen,
    Names,
    Probability,
    Scheduled,
    ScheduledDecay,
    ScheduledShare,
    ScheduledWeight,
    named,
    top,
)


class _Rule(Frozen):
    """What every update rule has."""

    lr: Scheduled = 2e-4
    """Learning rate: a number, or a schedule over the images seen."""
    decay: NonNegativeFloat = 0.0
    """Inverse-time decay per update: lr / (1 + decay * updates)."""
    clip_value: PositiveFloat | None = None
    """Clip every gradient entry to [-v, v]; null: no clipping."""


class Rmsprop(_Rule):
    """Keras' RMSprop: w -= lr * g / sqrt(mean(g^2) + eps)."""

    name: Literal["rmsprop"] = "rmsprop"
    """Update rule: rmsprop, adam or adamw."""
    lr: Scheduled = 4e-4
    """Learning rate: a number, or a schedule over the images seen."""
    rho: Probability = 0.9
    """Share of the old mean square that is kept."""
    eps: PositiveFloat = 1e-7
    """Added to the mean square, under the root."""


class Adam(_Rule):
    """Adam (Kingma & Ba 2015)."""

    name: Literal["adam"] = "adam"
    """Update rule: rmsprop, adam or adamw."""
    beta1: Probability = 0.5
    """Share of the old mean gradient that is kept."""
    beta2: ScheduledDecay = 0.999
    """Share of the old mean square that is kept: a number below 1, or a schedule over the images seen."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the mean square."""


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    name: Literal["adamw"] = "adamw"  # type: ignore[assignment]
    """Update rule: rmsprop, adam or adamw."""
    weight_decay: NonNegativeFloat = 0.01
    """Share of each weight, times lr, taken away per update."""


Optimizer = Annotated[Rmsprop | Adam | AdamW, Field(discriminator="name")]


class OptimizerConfig(Frozen):
    """Update rules of the two players."""

    generator: Optimizer = Rmsprop(lr=4e-4)
    """Update rule of G."""
    discriminator: Optimizer = Rmsprop(lr=8e-4)
    """Update rule of D."""

    @model_validator(mode="before")
    @classmethod
    def _rmsprop_where_no_rule_is_named(cls, players: Any) -> Any:
        """A rule without a name, or with the default's, keeps the player's other defaults (D's lr is not G's)."""
        if not isinstance(players, dict):
            return players
        filled = dict(players)
        for player, field in cls.model_fields.items():
            rule, default = players.get(player), field.default.model_dump()
            if isinstance(rule, dict) and rule.get("name", default["name"]) == default["name"]:
                filled[player] = default | rule
        return filled


class Penalties(Frozen):
    """Gradient penalties on D, which go with any loss."""

    r1_gamma: ScheduledWeight = 0.0
    """Weight of the R1 penalty: D's loss grows by gamma / 2 * |dD/dx|^2 on reals (Mescheder et al. 2018); 0: none."""
    r2_gamma: ScheduledWeight = 0.0
    """Weight of the R2 penalty: the same on fakes."""
    gradient_penalty: NonNegativeFloat = 0.0
    """Weight of (|dD/dx| - 1)^2 between reals and fakes (WGAN-GP, Gulrajani et al. 2017); 0: none."""
    penalty_every_steps: PositiveInt = 1
    """The penalties are taken in every so many-th update of D, with so many times the weight (Karras et al. 2020)."""

    @property
    def penalised(self) -> tuple[str, ...]:
        """The penalties that are ever on, by key."""
        weights = {"r1_gamma": self.r1_gamma, "r2_gamma": self.r2_gamma, "gradient_penalty": self.gradient_penalty}
        return tuple(f"loss.{name}" for name, weight in weights.items() if top(weight) > 0)


class LossConfig(Penalties):
    """Binary cross-entropy on D's logits, with noisy and smoothed labels for D: the seed recipe's loss."""

    name: Literal["bce"] = "bce"
    """Adversarial loss: bce, logistic, hinge, least_squares, wasserstein or relativistic."""
    real_label: Literal[0, 1] = 1
    """Label of real images; fakes get the other. The seed recipe has real = 0, fake = 1."""
    label_noise: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Each of D's labels moves by up to this much, uniformly."""
    noise_direction: Literal["inward", "outward"] = "inward"
    """inward: between the labels. outward: upwards, as in the seed document; needs `cross_entropy: keras_clipped`."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """One-sided: D's label for real images moves this far towards the fake label (Salimans et al. 2016)."""
    cross_entropy: Literal["logits", "keras_clipped"] = "logits"
    """logits: exact. keras_clipped: on probabilities clipped to [1e-7, 1 - 1e-7], as Keras does."""

    @model_validator(mode="after")
    def _outward_noise_needs_clipping(self) -> LossConfig:
        if self.label_noise and self.noise_direction == "outward" and self.cross_entropy == "logits":
            raise ValueError(
                "noise_direction=outward with cross_entropy=logits has no lower bound (labels leave [0, 1]); "
                "use noise_direction=inward, or cross_entropy=keras_clipped"
            )
        return self


class SimpleLoss(Penalties):
    """A loss with nothing to set: see the function of its name in losses.py."""

    name: Literal["logistic", "hinge", "least_squares", "wasserstein", "relativistic"]
    """Adversarial loss: bce, logistic, hinge, least_squares, wasserstein or relativistic."""


Loss = Annotated[Annotated[LossConfig | SimpleLoss, Field(discriminator="name")], named("name", "bce")]


class EmaConfig(Frozen):
    """The averaged generator that is exported and sampled."""

    half_life_images: Scheduled = 10_000
    """Real images after which a weight's share in the average has halved; independent of the batch size."""
    rampup_ratio: PositiveFloat | None = 0.05
    """The half-life is at most this share of the images seen so far; null: no ramp."""


class NoAugment(Frozen):
    """D sees the images as they are."""

    kind: Literal["none"] = "none"
    """Differentiable augmentation of all that D sees, reals and fakes alike: none, diffaugment or ada."""


class DiffAugment(Frozen):
    """Always, on every image (Zhao et al. 2020, arXiv:2006.10738)."""

    kind: Literal["diffaugment"] = "diffaugment"
    """Differentiable augmentation of all that D sees, reals and fakes alike: none, diffaugment or ada."""
    policy: Annotated[Names, Field(min_length=1)] = ("color", "translation", "cutout")
    """What is done: diffaugment: color, translation, cutout; ada: blit, geometry, color."""

    @model_validator(mode="after")
    def _known(self) -> DiffAugment:
        check_policy(self.policy, ("color", "translation", "cutout"))
        return self


class Ada(Frozen):
    """Each transformation with a probability that follows D's overfitting (Karras et al. 2020, arXiv:2006.06676)."""

    kind: Literal["ada"] = "ada"
    """Differentiable augmentation of all that D sees, reals and fakes alike: none, diffaugment or ada."""
    policy: Annotated[Names, Field(min_length=1)] = ("blit", "geometry", "color")
    """What is done: diffaugment: color, translation, cutout; ada: blit, geometry, color."""
    p: ScheduledShare = 0.0
    """Probability of each transformation; with a target: at the start."""
    target: Annotated[float, Field(gt=-1, lt=1)] | None = 0.6
    """p rises while D is too sure of the reals, else it falls: while 2 * (share of them that it takes for real, as in
    d/real_accuracy) - 1 is above this; null: p is as set."""
    speed_images: PositiveFloat = 500_000
    """Real images in which p can go from 0 to 1."""
    every_steps: PositiveInt = 4
    """Steps between two moves of p."""

    @model_validator(mode="after")
    def _known(self) -> Ada:
        check_policy(self.policy, ("blit", "geometry", "color"))
        if self.target is not None and not isinstance(self.p, float):
            raise ValueError(f"p has a schedule, but target={self.target} moves p, too; set target to null")
        return self


def check_policy(policy: tuple[str, ...], known: tuple[str, ...]) -> None:
    """Raises ValueError for a name that is not known."""
    for name in policy:
        if name not in known:
            raise ValueError(f"policy has '{name}', which is none of {', '.join(known)}")


AugmentConfig = Annotated[Annotated[NoAugment | DiffAugment | Ada, Field(discriminator="kind")], named("kind", "none")]
