"""The settings of the training method: losses, update rules, the averaged generator, augmentation.

Every choice is one section with a name in it (`loss.name`, `augment.kind`; `generator.family` in networks.py). The
choices are independent, so a new combination is a YAML file.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from distgan.config.base import Frozen, Names, Probability, default_choice
from distgan.config.schedule import Scheduled, ScheduledDecay, ScheduledShare, ScheduledWeight, largest

UPDATE_RULE = "Update rule: rmsprop, adam or adamw."
LEARNING_RATE = "Learning rate: a number, or a schedule over the images seen."
LOSS = "Adversarial loss: bce, logistic, hinge, least_squares, wasserstein or relativistic."
AUGMENTATION = "Differentiable augmentation of all that D sees, reals and fakes alike: none, diffaugment or ada."
POLICY = "Transformations: diffaugment: color, translation, cutout; ada: blit, geometry, color."


class _Rule(Frozen):
    """Settings of every update rule."""

    lr: Scheduled = Field(default=2e-4, description=LEARNING_RATE)
    decay: NonNegativeFloat = 0.0
    """Inverse-time decay per update: lr / (1 + decay * updates)."""
    clip_value: PositiveFloat | None = None
    """Clip every gradient entry to [-v, v]; null: no clipping."""


class Rmsprop(_Rule):
    """Keras' RMSprop: w -= lr * g / sqrt(mean(g^2) + eps)."""

    name: Literal["rmsprop"] = Field(default="rmsprop", description=UPDATE_RULE)
    lr: Scheduled = Field(default=4e-4, description=LEARNING_RATE)
    rho: Probability = 0.9
    """Share of the old mean square that is kept."""
    eps: PositiveFloat = 1e-7
    """Added to the mean square, under the root."""


class Adam(_Rule):
    """Adam (Kingma & Ba 2015)."""

    name: Literal["adam"] = Field(default="adam", description=UPDATE_RULE)
    beta1: Probability = 0.5
    """Share of the old mean gradient that is kept."""
    beta2: ScheduledDecay = 0.999
    """Share of the old mean square that is kept: a number below 1, or a schedule over the images seen."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the mean square."""


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    name: Literal["adamw"] = Field(default="adamw", description=UPDATE_RULE)  # type: ignore[assignment]
    weight_decay: NonNegativeFloat = 0.01
    """Share of each weight, times lr, subtracted per update."""


Optimizer = Annotated[Rmsprop | Adam | AdamW, Field(discriminator="name")]


class OptimizerConfig(Frozen):
    """Update rules of G and D."""

    generator: Optimizer = Rmsprop(lr=4e-4)
    """Update rule of G."""
    discriminator: Optimizer = Rmsprop(lr=8e-4)
    """Update rule of D."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_defaults(cls, players: Any) -> Any:
        """Fills in each player's own defaults (D's lr is not G's) if its rule has no name, or the default's name."""
        if not isinstance(players, dict):
            return players
        filled = dict(players)
        for player, field in cls.model_fields.items():
            rule, default = players.get(player), field.default.model_dump()
            if isinstance(rule, dict) and rule.get("name", default["name"]) == default["name"]:
                filled[player] = default | rule
        return filled


class Penalties(Frozen):
    """Gradient penalties on D, for any loss."""

    r1_gamma: ScheduledWeight = 0.0
    """Weight of the R1 penalty: D's loss grows by gamma / 2 * |dD/dx|^2 on reals (Mescheder et al. 2018); 0: none."""
    r2_gamma: ScheduledWeight = 0.0
    """Weight of the R2 penalty: the same on fakes."""
    gradient_penalty: NonNegativeFloat = 0.0
    """Weight of (|dD/dx| - 1)^2 between reals and fakes (WGAN-GP, Gulrajani et al. 2017); 0: none."""
    penalty_every_steps: PositiveInt = 1
    """Penalties are computed in every n-th update of D only, with n times their weight (Karras et al. 2020)."""

    @property
    def penalised(self) -> tuple[str, ...]:
        """The keys of the penalties whose weight is ever above 0."""
        weights = {"r1_gamma": self.r1_gamma, "r2_gamma": self.r2_gamma, "gradient_penalty": self.gradient_penalty}
        return tuple(f"loss.{name}" for name, weight in weights.items() if largest(weight) > 0)


class LossConfig(Penalties):
    """Loss of the seed recipe: binary cross-entropy on D's logits, with noisy and smoothed labels for D."""

    name: Literal["bce"] = Field(default="bce", description=LOSS)
    real_label: Literal[0, 1] = 1
    """Label of real images; fakes get the other. The seed recipe has real = 0, fake = 1."""
    label_noise: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Each of D's labels is moved by up to this much, uniformly."""
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
    """A loss without settings: the function of its name in training/losses.py."""

    name: Literal["logistic", "hinge", "least_squares", "wasserstein", "relativistic"] = Field(description=LOSS)


Loss = Annotated[Annotated[LossConfig | SimpleLoss, Field(discriminator="name")], default_choice("name", "bce")]


class EmaConfig(Frozen):
    """The averaged generator, which is exported and sampled."""

    half_life_images: Scheduled = 10_000
    """Real images after which a weight's share in the average has halved; independent of the batch size."""
    rampup_ratio: PositiveFloat | None = 0.05
    """The half-life is at most this share of the images seen so far; null: no ramp."""


class NoAugment(Frozen):
    """No augmentation: D sees the images as they are."""

    kind: Literal["none"] = Field(default="none", description=AUGMENTATION)


class DiffAugment(Frozen):
    """Transforms every image (Zhao et al. 2020, arXiv:2006.10738)."""

    kind: Literal["diffaugment"] = Field(default="diffaugment", description=AUGMENTATION)
    policy: Annotated[Names, Field(min_length=1)] = Field(
        default=("color", "translation", "cutout"), description=POLICY
    )

    @model_validator(mode="after")
    def _known(self) -> DiffAugment:
        check_policy(self.policy, ("color", "translation", "cutout"))
        return self


class Ada(Frozen):
    """Transforms with a probability that follows D's overfitting (Karras et al. 2020, arXiv:2006.06676)."""

    kind: Literal["ada"] = Field(default="ada", description=AUGMENTATION)
    policy: Annotated[Names, Field(min_length=1)] = Field(default=("blit", "geometry", "color"), description=POLICY)
    p: ScheduledShare = 0.0
    """Probability of each transformation; with a target: its first value."""
    target: Annotated[float, Field(gt=-1, lt=1)] | None = 0.6
    """p rises while 2 * (share of the reals that D takes for real, d/real_accuracy) - 1 is above this, else it falls;
    null: p stays as set."""
    speed_images: PositiveFloat = 500_000
    """Real images that p needs to go from 0 to 1."""
    every_steps: PositiveInt = 4
    """Steps between two changes of p."""

    @model_validator(mode="after")
    def _known(self) -> Ada:
        check_policy(self.policy, ("blit", "geometry", "color"))
        if self.target is not None and not isinstance(self.p, float):
            raise ValueError(f"p has a schedule, but target={self.target} changes p as well; set target to null")
        return self


def check_policy(policy: tuple[str, ...], known: tuple[str, ...]) -> None:
    """Raises ValueError for an unknown name."""
    for name in policy:
        if name not in known:
            raise ValueError(f"policy has '{name}'; it must be one of {', '.join(known)}")


AugmentConfig = Annotated[
    Annotated[NoAugment | DiffAugment | Ada, Field(discriminator="kind")], default_choice("kind", "none")
]
