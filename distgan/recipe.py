"""The part of the configuration that says what is trained: networks, losses, update rules, averages, augmentation.

Every choice is one section with a name in it (`generator.family`, `loss.name`, `augment.kind`); the choices are
independent of each other, so that a new combination is a YAML file.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from distgan.settings import Frozen, Names, Probability, Scheduled, ScheduledShare, ScheduledWeight, named, top


class GeneratorSettings(Frozen):
    """What every family of generators has."""

    latent_dim: PositiveInt = 128
    """Length of the normal latent vector."""
    conditional: bool = False
    """Make pictures of a given class: each family does it as its paper does."""


class SeedGenerator(GeneratorSettings):
    """The seed recipe's generator: dense, 5x5 convolution, 4x4 transposed convolutions, 5x5 convolutions, 7x7, tanh."""

    family: Literal["seed_dcgan"] = "seed_dcgan"
    """Network family: seed_dcgan, dcgan, sngan or r3gan."""
    latent_dim: PositiveInt = 32
    """Length of the normal latent vector."""
    stem_channels: PositiveInt = 128
    """Channels of the dense layer's output."""
    width: PositiveInt = 256
    """Channels of the convolutions."""
    upsamples: Annotated[int, Field(ge=1, le=12)] = 1
    """Transposed convolutions with stride 2; the dense layer makes maps of size / 2**upsamples."""
    depth: NonNegativeInt = 2
    """5x5 convolutions at full size."""
    dropout: Probability = 0.0
    """Dropout after each full-size convolution; helps when G stalls on noise-like pictures."""

    @property
    def fewest_tensors(self) -> int:
        """Tensors that its file holds at least; known before its layers are made."""
        return self.depth + self.upsamples


class DcganGenerator(GeneratorSettings):
    """The standard CNN of Miyato et al. 2018 (arXiv:1802.05957, table 3), a DCGAN (Radford et al. 2016): dense to
    4x4, batch norm, 4x4 transposed convolutions with stride 2, 3x3 convolution, tanh. Classes: conditional batch norm.
    """

    family: Literal["dcgan"] = "dcgan"
    """Network family: seed_dcgan, dcgan, sngan or r3gan."""
    width: PositiveInt = 64
    """Channels of the last map; they double with every halving of the size."""

    @property
    def fewest_tensors(self) -> int:
        return 1


class SnganGenerator(GeneratorSettings):
    """The ResNet of Miyato et al. 2018 (arXiv:1802.05957, table 4): dense to 4x4, residual blocks that double the
    size, batch norm, 3x3 convolution, tanh. Classes: conditional batch norm (Miyato & Koyama 2018)."""

    family: Literal["sngan"] = "sngan"
    """Network family: seed_dcgan, dcgan, sngan or r3gan."""
    width: PositiveInt = 256
    """Channels of all maps."""

    @property
    def fewest_tensors(self) -> int:
        return 1


class R3ganGenerator(GeneratorSettings):
    """After Huang et al. 2024 (arXiv:2501.05441, section 4): stages of residual blocks (1x1, grouped 3x3, 1x1) without
    normalisation, fix-up initialisation, bilinear resampling. Classes: an embedding beside the latent."""

    family: Literal["r3gan"] = "r3gan"
    """Network family: seed_dcgan, dcgan, sngan or r3gan."""
    latent_dim: PositiveInt = 64
    """Length of the normal latent vector."""
    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=12)] = (768, 768, 768, 768)
    """Channels of each stage, from 4x4 to full size: 4 stages make 32x32."""
    blocks: PositiveInt = 2
    """Residual blocks per stage."""
    expansion: PositiveInt = 2
    """The grouped convolution has this many times the stage's channels."""
    group_width: PositiveInt = 16
    """Channels of each of its groups."""

    @property
    def fewest_tensors(self) -> int:
        return self.blocks * len(self.widths)


GeneratorConfig = Annotated[
    Annotated[SeedGenerator | DcganGenerator | SnganGenerator | R3ganGenerator, Field(discriminator="family")],
    named("family", "seed_dcgan"),
]


class DiscriminatorSettings(Frozen):
    """What every family of discriminators has."""

    dropout: Probability = 0.0
    """Dropout before the last dense layer."""
    spectral_norm: bool = False
    """Divide every weight by its largest singular value (Miyato et al. 2018, arXiv:1802.05957)."""
    conditional: bool = False
    """Projection of the class on the features (Miyato & Koyama 2018, arXiv:1802.05637)."""


class SeedDiscriminator(DiscriminatorSettings):
    """The seed recipe's discriminator: 3x3 convolution, strided 4x4 convolutions without padding, dropout, dense."""

    family: Literal["seed_dcgan"] = "seed_dcgan"
    """Network family: seed_dcgan, dcgan, sngan or r3gan."""
    width: PositiveInt = 128
    """Channels of the convolutions."""
    downsamples: Annotated[int, Field(ge=1, le=12)] = 3
    """4x4 convolutions with stride 2."""
    dropout: Probability = 0.4
    """Dropout before the last dense layer."""


class DcganDiscriminator(DiscriminatorSettings):
    """The standard CNN of Miyato et al. 2018 (table 3): 3x3 and strided 4x4 convolutions in turn, dense."""

    family: Literal["dcgan"] = "dcgan"
    """Network family: seed_dcgan, dcgan, sngan or r3gan."""
    width: PositiveInt = 64
    """Channels at full size; they double with every halving of the size."""


class SnganDiscriminator(DiscriminatorSettings):
    """The ResNet of Miyato et al. 2018 (table 4): residual blocks down to 8x8, two more, sum over the places, dense."""

    family: Literal["sngan"] = "sngan"
    """Network family: seed_dcgan, dcgan, sngan or r3gan."""
    width: PositiveInt = 128
    """Channels of all maps."""
    spectral_norm: bool = True
    """Divide every weight by its largest singular value (Miyato et al. 2018, arXiv:1802.05957)."""


class R3ganDiscriminator(DiscriminatorSettings):
    """The mirror of R3GAN's generator (Huang et al. 2024, section 4); the class is embedded and projected."""

    family: Literal["r3gan"] = "r3gan"
    """Network family: seed_dcgan, dcgan, sngan or r3gan."""
    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=12)] = (768, 768, 768, 768)
    """Channels of each stage, from 4x4 to full size: 4 stages take 32x32."""
    blocks: PositiveInt = 2
    """Residual blocks per stage."""
    expansion: PositiveInt = 2
    """The grouped convolution has this many times the stage's channels."""
    group_width: PositiveInt = 16
    """Channels of each of its groups."""


DiscriminatorConfig = Annotated[
    Annotated[
        SeedDiscriminator | DcganDiscriminator | SnganDiscriminator | R3ganDiscriminator, Field(discriminator="family")
    ],
    named("family", "seed_dcgan"),
]


class _Rule(Frozen):
    """What every update rule has."""

    lr: Scheduled = 2e-4
    """Learning rate: a number, or a schedule over the pictures seen."""
    decay: NonNegativeFloat = 0.0
    """Inverse-time decay per update: lr / (1 + decay * updates)."""
    clip_value: PositiveFloat | None = None
    """Clip every gradient entry to [-v, v]; null: no clipping."""


class Rmsprop(_Rule):
    """Keras' RMSprop: w -= lr * g / sqrt(mean(g^2) + eps)."""

    name: Literal["rmsprop"] = "rmsprop"
    """Update rule: rmsprop, adam or adamw."""
    lr: Scheduled = 4e-4
    """Learning rate: a number, or a schedule over the pictures seen."""
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
    beta2: ScheduledShare = 0.999
    """Share of the old mean square that is kept: a number below 1, or a schedule over the pictures seen."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the mean square."""

    @model_validator(mode="after")
    def _remembers_less_than_all(self) -> Adam:
        if top(self.beta2) >= 1:
            raise ValueError(f"beta2 reaches {top(self.beta2):g}; it must stay below 1, such as 0.999")
        return self


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
    """Label of real pictures; fakes get the other. The seed recipe has real = 0, fake = 1."""
    label_noise: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Each of D's labels moves by up to this much, uniformly."""
    noise_direction: Literal["inward", "outward"] = "inward"
    """inward: between the labels. outward: upwards, as in the seed document; needs `cross_entropy: keras_clipped`."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """One-sided: D's label for real pictures moves this far towards the fake label (Salimans et al. 2016)."""
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


class PaperLoss(Penalties):
    """A loss with nothing to set: see the function of its name in losses.py."""

    name: Literal["logistic", "hinge", "least_squares", "wasserstein", "relativistic"]
    """Adversarial loss: bce, logistic, hinge, least_squares, wasserstein or relativistic."""


Loss = Annotated[Annotated[LossConfig | PaperLoss, Field(discriminator="name")], named("name", "bce")]


class EmaConfig(Frozen):
    """The averaged generator that is exported and sampled."""

    half_life_images: Scheduled = 10_000
    """Real pictures after which a weight's share in the average has halved; independent of the batch size."""
    rampup_ratio: PositiveFloat | None = 0.05
    """The half-life is at most this share of the pictures seen so far; null: no ramp."""


class NoAugment(Frozen):
    """D sees the pictures as they are."""

    kind: Literal["none"] = "none"
    """Differentiable augmentation of all that D sees, reals and fakes alike: none, diffaugment or ada."""


class DiffAugment(Frozen):
    """Always, on every picture (Zhao et al. 2020, arXiv:2006.10738)."""

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
    """p rises while the mean sign of D's logits on reals is above this, else it falls; null: p is as set."""
    speed_images: PositiveFloat = 500_000
    """Real pictures in which p can go from 0 to 1."""
    every_steps: PositiveInt = 4
    """Steps between two moves of p."""

    @model_validator(mode="after")
    def _known(self) -> Ada:
        check_policy(self.policy, ("blit", "geometry", "color"))
        if top(self.p) > 1:
            raise ValueError(f"p reaches {top(self.p):g}; a probability is at most 1")
        if self.target is not None and not isinstance(self.p, float):
            raise ValueError(f"p has a schedule, but target={self.target} moves p, too; set target to null")
        return self


def check_policy(policy: tuple[str, ...], known: tuple[str, ...]) -> None:
    """Raises ValueError for a name that is not known."""
    for name in policy:
        if name not in known:
            raise ValueError(f"policy has '{name}', which is none of {', '.join(known)}")


AugmentConfig = Annotated[Annotated[NoAugment | DiffAugment | Ada, Field(discriminator="kind")], named("kind", "none")]
