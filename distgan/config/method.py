"""The settings of the training method: losses, update rules, the averaged generator, augmentation.

Every choice is one section with a name in it (`loss.name`, `augment.kind`; `generator.family` in networks.py). The
choices are independent, so a new combination is a YAML file. Each kind is a registry, with a line for every name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from distgan.config import contracts
from distgan.config.base import Frozen, Names, Probability
from distgan.config.registry import Registry
from distgan.config.schedule import Scheduled, ScheduledDecay, ScheduledShare, ScheduledWeight, at, largest

LEARNING_RATE = "Learning rate: a number, or a schedule over the images seen."
POLICY = "Transformations: diffaugment: color, translation, cutout; ada: blit, geometry, color."


class UpdateRule(Frozen):
    """Settings of every update rule."""

    lr: Scheduled = Field(default=2e-4, description=LEARNING_RATE)
    decay: NonNegativeFloat = 0.0
    """Inverse-time decay per update: lr / (1 + decay * updates)."""
    clip_value: PositiveFloat | None = None
    """Clip every gradient entry to [-v, v]; null: no clipping."""

    memory: ClassVar[tuple[str, ...] | None] = None
    """Names of the state of each weight, which a checkpoint must have; None: whatever the optimizer has."""

    def scheduled(self, images: int) -> dict[str, Any]:
        """What else than `lr` follows a schedule: values of torch's parameter groups after `images` real images."""
        return {}


class Rmsprop(UpdateRule):
    """Keras' RMSprop: w -= lr * g / sqrt(mean(g^2) + eps)."""

    name: Literal["rmsprop"] = "rmsprop"
    lr: Scheduled = Field(default=4e-4, description=LEARNING_RATE)
    rho: Probability = 0.9
    """Share of the old mean square that is kept."""
    eps: PositiveFloat = 1e-7
    """Added to the mean square, under the root."""

    memory = ("square_mean",)


class Adam(UpdateRule):
    """Adam (Kingma & Ba 2015)."""

    name: Literal["adam"] = "adam"
    beta1: Probability = 0.5
    """Share of the old mean gradient that is kept."""
    beta2: ScheduledDecay = 0.999
    """Share of the old mean square that is kept: a number below 1, or a schedule over the images seen."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the mean square."""

    memory = ("step", "exp_avg", "exp_avg_sq")

    def scheduled(self, images: int) -> dict[str, Any]:
        return {"betas": (self.beta1, at(self.beta2, images))}


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    name: Literal["adamw"] = "adamw"  # type: ignore[assignment]
    weight_decay: NonNegativeFloat = 0.01
    """Share of each weight, times lr, subtracted per update."""


OPTIMIZERS = Registry(
    kind="optimizer",
    key="optimizer.generator.name",
    group="distgan.optimizers",
    base=UpdateRule,
    contract=contracts.OPTIMIZER,
    needs=("param_groups",),
)
OPTIMIZERS.add("rmsprop", "distgan.training.optim:keras_rmsprop", Rmsprop)
OPTIMIZERS.add("adam", "distgan.training.optim:adam", Adam)
OPTIMIZERS.add("adamw", "distgan.training.optim:adamw", AdamW)

if TYPE_CHECKING:
    Optimizer = UpdateRule
else:
    Optimizer = OPTIMIZERS.union("Update rule")


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


class PenaltySettings(Frozen):
    """Settings of every further penalty."""

    weight: ScheduledWeight = 1.0
    """Weight of the penalty in D's loss: a number, or a schedule over the images seen."""


class NoPenalty(Frozen):
    """No further penalty."""

    name: Literal["none"] = "none"

    @property
    def weight(self) -> float:
        return 0.0


class WganLp(PenaltySettings):
    """max(0, |dD/dx| - 1)^2 between reals and fakes: only slopes that are too steep (Petzka et al. 2018,
    arXiv:1709.08894)."""

    name: Literal["wgan_lp"] = "wgan_lp"


PENALTIES = Registry(
    kind="penalty",
    key="loss.penalty.name",
    group="distgan.penalties",
    base=PenaltySettings,
    contract=contracts.PENALTY,
    needs=("on",),
)
PENALTIES.add("none", "distgan.training.penalties:no_penalty", NoPenalty)
PENALTIES.add("wgan_lp", "distgan.training.penalties:WganLp", WganLp)

if TYPE_CHECKING:
    Penalty = NoPenalty | PenaltySettings
else:
    Penalty = PENALTIES.union("Further penalty on D", default="none")


class ModeSeeking(Frozen):
    """G's loss grows by how much nearer two fakes of one class are than two real images (after Mao et al. 2019,
    arXiv:1903.05628)."""

    weight: ScheduledWeight = 0.0
    """Weight in G's loss; 0: none. One that falls gives variety first, and likeness at the end."""
    on: Literal["images", "features"] = "images"
    """What is compared: the images, or what D's fixed network makes of them (D's family `projected`)."""
    share: PositiveFloat = 1.0
    """Share of the distance of two real images from which on two fakes are different enough. The two real images are
    mostly of two classes, and farther apart than two of one class: below 1 asks for less."""

    @property
    def wanted(self) -> bool:
        """Whether it is ever part of G's loss."""
        return largest(self.weight) > 0

    @property
    def wants_features(self) -> bool:
        """Whether it ever compares D's features."""
        return self.wanted and self.on == "features"


class Penalties(Frozen):
    """Gradient penalties on D, for any loss."""

    r1_gamma: ScheduledWeight = 0.0
    """Weight of the R1 penalty: D's loss grows by gamma / 2 * |dD/dx|^2 on reals (Mescheder et al. 2018); 0: none.
    Beside bce, a mean over fakes and reals where the others are sums of two, it is worth twice as much."""
    r2_gamma: ScheduledWeight = 0.0
    """Weight of the R2 penalty: the same on fakes."""
    gradient_penalty: NonNegativeFloat = 0.0
    """Weight of (|dD/dx| - 1)^2 between reals and fakes (WGAN-GP, Gulrajani et al. 2017); 0: none."""
    penalty_every_steps: PositiveInt = 1
    """Penalties are computed in every n-th update of D only, with n times their weight (Karras et al. 2020)."""
    penalty: Penalty = NoPenalty()
    """One more penalty."""
    penalty_at: Literal["image", "augmented"] = "image"
    """What D's slope on reals and fakes is by. image: the image before its augmentation, as in StyleGAN2-ADA's and
    R3GAN's code; augmented: the image as D sees it, as in runs of earlier versions."""
    mode_seeking: ModeSeeking = ModeSeeking()
    """Against classes of which G makes one image only."""

    limits_slope: ClassVar[bool] = True
    """False for a loss that has no minimum without a limit of D's slope."""

    @property
    def penalised(self) -> tuple[str, ...]:
        """The keys of the penalties whose weight is ever above 0."""
        weights = {
            "r1_gamma": self.r1_gamma,
            "r2_gamma": self.r2_gamma,
            "gradient_penalty": self.gradient_penalty,
            "penalty.weight": self.penalty.weight,
        }
        return tuple(f"loss.{name}" for name, weight in weights.items() if largest(weight) > 0)


class LossConfig(Penalties):
    """Loss of the seed recipe: binary cross-entropy on D's logits, with noisy and smoothed labels for D."""

    name: Literal["bce"] = "bce"
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


class Logistic(Penalties):
    """Non-saturating (Goodfellow et al. 2014)."""

    name: Literal["logistic"] = "logistic"


class Hinge(Penalties):
    """Lim & Ye 2017 (arXiv:1705.02894)."""

    name: Literal["hinge"] = "hinge"


class LeastSquares(Penalties):
    """Mao et al. 2017 (arXiv:1611.04076)."""

    name: Literal["least_squares"] = "least_squares"


class Relativistic(Penalties):
    """Each real against a fake (Jolicoeur-Martineau 2019, arXiv:1807.00734)."""

    name: Literal["relativistic"] = "relativistic"


class Wasserstein(Penalties):
    """D as a critic (Arjovsky et al. 2017, arXiv:1701.07875)."""

    name: Literal["wasserstein"] = "wasserstein"
    limits_slope = False


LOSSES = Registry(
    kind="loss",
    key="loss.name",
    group="distgan.losses",
    base=Penalties,
    contract=contracts.LOSS,
    needs=("discriminator", "generator", "real_probabilities", "needs_real_logits", "needs_label_noise"),
)
LOSSES.add("bce", "distgan.training.losses:BinaryCrossEntropy", LossConfig)
LOSSES.add("logistic", "distgan.training.losses:LOGISTIC", Logistic)
LOSSES.add("hinge", "distgan.training.losses:HINGE", Hinge)
LOSSES.add("least_squares", "distgan.training.losses:LEAST_SQUARES", LeastSquares)
LOSSES.add("wasserstein", "distgan.training.losses:WASSERSTEIN", Wasserstein)
LOSSES.add("relativistic", "distgan.training.losses:RELATIVISTIC", Relativistic)

if TYPE_CHECKING:
    Loss = Penalties
else:
    Loss = LOSSES.union("Adversarial loss", default="bce")


class EmaConfig(Frozen):
    """The averaged generator, which is exported and sampled."""

    half_life_images: Scheduled = 10_000
    """Real images after which a weight's share in the average has halved; independent of the batch size."""
    rampup_ratio: PositiveFloat | None = 0.05
    """The half-life is at most this share of the images seen so far; null: no ramp."""


class NoAugment(Frozen):
    """No augmentation: D sees the images as they are."""

    kind: Literal["none"] = "none"


class DiffAugment(Frozen):
    """Transforms every image (Zhao et al. 2020, arXiv:2006.10738)."""

    kind: Literal["diffaugment"] = "diffaugment"
    policy: Annotated[Names, Field(min_length=1)] = Field(
        default=("color", "translation", "cutout"), description=POLICY
    )

    @model_validator(mode="after")
    def _known(self) -> DiffAugment:
        check_policy(self.policy, ("color", "translation", "cutout"))
        return self


class Ada(Frozen):
    """Transforms with a probability that follows D's overfitting (Karras et al. 2020, arXiv:2006.06676)."""

    kind: Literal["ada"] = "ada"
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


AUGMENTATIONS = Registry(
    kind="augmentation",
    key="augment.kind",
    group="distgan.augmentations",
    contract=contracts.AUGMENTATION,
    needs=("uniforms", "normals"),
)
AUGMENTATIONS.add("none", "distgan.training.augment:no_augmentation", NoAugment)
AUGMENTATIONS.add("diffaugment", "distgan.training.augment:DiffAugmentation", DiffAugment)
AUGMENTATIONS.add("ada", "distgan.training.augment:AdaAugmentation", Ada)

if TYPE_CHECKING:
    AugmentConfig = NoAugment | DiffAugment | Ada
else:
    AugmentConfig = AUGMENTATIONS.union(
        "Differentiable augmentation of all that D sees, reals and fakes alike", default="none"
    )
