"""The whole configuration, as frozen and validated models.

In: one YAML file per recipe and dotted overrides (`train.batch_size=64`). Out: one `Config`. The text under each
field is its help (meaning, unit); the type is its rule. Networks and training method have files of their own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, NewType
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PlainValidator,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from distgan.config.base import AS_TEXT, FREE, Frozen, LocalPath, Names, Probability, free
from distgan.config.choices import (
    EXTRACTORS,
    METRICS,
    NEED_INPUT,
    SOURCES,
    Controllers,
    Metrics,
    Trackers,
    WandbTracker,
)
from distgan.config.method import AugmentConfig, EmaConfig, Loss, LossConfig, NoAugment, OptimizerConfig
from distgan.config.networks import (
    DiscriminatorConfig,
    GeneratorConfig,
    SeedDiscriminator,
    SeedGenerator,
)
from distgan.config.registry import short_name
from distgan.utils.limits import MAX_SIZE
from distgan.utils.names import split_names
from distgan.utils.paths import storable_path
from distgan.utils.safe_io import printable

Reaction = Literal["off", "warn", "alert", "stop", "rollback"]
URL = NewType("URL", str)


def _is_label_place(text: str) -> str:
    if not re.fullmatch("auto|cls|none|json:.{1,100}", text):
        raise ValueError(f"{printable(text)} must be auto, cls, none or json:FIELD")
    return text


MAX_REALS = 10_000  # that scores compare with, where nothing else is asked for
URL_FORMS = {
    "http": ("HOST/DIR", "~/.netrc"),
    "https": ("HOST/DIR", "~/.netrc"),
    "s3": ("BUCKET/PREFIX", "the environment or ~/.aws"),
    "hf": ("datasets/OWNER/NAME/DIR", "HF_TOKEN in the environment"),
    "gs": ("BUCKET/PREFIX", "GOOGLE_APPLICATION_CREDENTIALS in the environment"),
    "az": ("CONTAINER/PREFIX", "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY in the environment"),
}
"""What follows the scheme of a URL, and where its credentials belong."""
HUB = re.compile(r"hf://(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w][\w./-]*))?")


def _is_host(text: str) -> bool:
    """HOST or HOST:PORT."""
    try:
        parts = urlsplit(f"//{text}")
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _directory_or_url(value: Any) -> Path | URL:
    """Text such as https://... is a URL, any other a directory. Errors do not repeat a URL: it may hold a secret."""
    if not isinstance(value, (str, Path)):
        raise PydanticCustomError("path_type", "Input is not a valid path")
    if isinstance(value, Path) or not re.match("[A-Za-z][A-Za-z0-9+.-]*://", value):
        return storable_path(value)
    scheme, rest = value.split("://", 1)
    host = rest.split("/")[0]
    if scheme not in URL_FORMS:
        raise ValueError(
            f"{scheme}:// cannot be read; use a directory, https://HOST/DIR, s3://, gs:// or az://BUCKET/PREFIX, or "
            "hf://datasets/OWNER/NAME/DIR"
        )
    form, credentials = URL_FORMS[scheme]
    signs = "?# \\" if scheme == "hf" else "@?# \\"  # a revision follows an @
    if any(sign in rest for sign in signs) or not rest.isprintable() or not _is_host(host):
        raise ValueError(
            f"a URL must read {scheme}://{form}, without user, password, ?query, #fragment and spaces: it is stored "
            f"with the run; credentials belong in {credentials}"
        )
    if scheme == "hf" and not re.match(r"datasets/[^/]+/[^/]+", rest):
        raise ValueError("a URL of the Hugging Face hub must read hf://datasets/OWNER/NAME/DIR")
    return URL(value.rstrip("/"))


ForeignLabel = Annotated[str, AfterValidator(_is_label_place)]
Location = Annotated[Path | URL, PlainValidator(_directory_or_url), AS_TEXT]


def _run_name(name: str) -> str:
    """Raises ValueError for what no directory should be called."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        return name
    nearest = re.sub("[^A-Za-z0-9._-]+", "_", name).lstrip("._-") or "mine"
    raise ValueError(
        f"'{printable(name)}' must be letters, digits, '.', '_' and '-', with a letter or a digit first; nearest: "
        f"{nearest}"
    )


class RunConfig(Frozen):
    """Name, place and seed of a training run."""

    name: Annotated[str, AfterValidator(_run_name)] = Field(default="quickstart", json_schema_extra=FREE)
    """Run name: letters, digits, '.', '_', '-'; the run directory is DIR/NAME."""
    dir: LocalPath = free(Path("runs"))
    """Directory that holds the run directories; with several machines, one that all of them share."""
    seed: NonNegativeInt = 0
    """Seed of every random draw: weights, order of the images, latents, label noise, dropout."""


class DataConfig(Frozen):
    """The real images, and how they are read."""

    path: Location = free(Path("data/shapes"))
    """Directory made by `distgan prepare` (tar shards, manifest.json), or tar shards of any maker: a directory, or
    DIR/{000..009}.tar. Both also at https://HOST/DIR, s3://BUCKET/PREFIX, hf://datasets/OWNER/NAME/DIR, gs://BUCKET/DIR
    or az://CONTAINER/DIR. On the command line it turns the recipe's `data.prepare` off: the data set must be there."""
    prepare: Annotated[str, AfterValidator(SOURCES.check_name)] | None = free(None)
    """Data set to make at `data.path` if nothing is there yet: shapes, cifar10, cifar100, mnist, or the source
    package.module:Name with its default settings; null: it must be there."""
    classes: Annotated[Names, Field(min_length=1)] | None = None
    """Classes to show, by name (frog or frog,cat; quotes around a name with a comma); null: all."""
    size: Annotated[int, Field(ge=1, le=MAX_SIZE)] | None = None
    """Height and width, pixels, to which images in shards of other makers are brought; null: they have one size."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """How: crop: the central square; pad: all of the image on black; stretch: both sides scaled by themselves."""
    channels: Literal["rgb", "gray"] | None = None
    """Of shards of other makers: rgb: three channels; gray: one, and a generator of one; null: rgb."""
    label: ForeignLabel = "auto"
    """The class in shards of other makers: cls: the file KEY.cls; json:FIELD: a field of KEY.json; none: one class;
    auto: cls where the first image has one, else none."""
    mode: Literal["auto", "stream", "resident"] = free("auto")
    """stream: read shards during training; resident: decode once, keep as uint8; auto: resident if it fits."""
    resident_limit_mb: PositiveInt = free(2048)
    """Limit of the resident images of `mode: auto`, MiB per process."""
    resident_on: Literal["device", "host"] = free("device")
    """Memory that holds resident images: the training device's, or the host's."""
    shuffle: bool = True
    """New order every epoch, a function of (seed, epoch); false: the order of the shards, again and again."""
    shuffle_buffer: PositiveInt = 4096
    """Images that stream mode shuffles at a time, per worker."""
    workers: Literal["auto"] | NonNegativeInt = free("auto")
    """Reader processes per rank in stream mode; 0 reads in the training process; auto: 0 for a local directory with
    blocks, or any local directory when training on the CPU; else 2."""
    flip: bool = False
    """Mirror each image left to right with probability 1/2."""
    cache: LocalPath | None = free(None)
    """Local directory that keeps the shards of a URL; it grows to the data set's size. null: fetch them every epoch."""
    tries: PositiveInt = free(5)
    """Attempts to fetch a shard from a URL before it counts as unreadable."""
    stall_seconds: PositiveFloat = free(30.0)
    """Seconds without data, or with less than 1 KiB/s, after which a shard is fetched again from its start."""
    on_error: Literal["raise", "skip"] = free("raise")
    """Images and shards that cannot be read: raise: end training; skip: use readable ones in their place."""
    max_skipped: PositiveInt = free(1000)
    """Different images that a process may skip with `on_error: skip`; one more ends training."""

    @model_validator(mode="after")
    def _check_prepare(self) -> DataConfig:
        if self.prepare in NEED_INPUT:
            raise ValueError(
                f"prepare={self.prepare} needs its input named: make the data set first with `distgan prepare "
                f"{self.prepare}`"
            )
        if self.prepare and not isinstance(self.path, Path):
            raise ValueError(
                f"prepare={self.prepare} makes a data set in a directory, not at path={self.path}; "
                "set data.prepare=null to read what is there"
            )
        return self


def _weights(value: Any) -> Path | URL:
    """hf://OWNER/NAME is a repository on the Hub, any other text a path."""
    if not isinstance(value, (str, Path)):
        raise PydanticCustomError("path_type", "Input is not a valid path")
    if isinstance(value, Path) or not re.match("[A-Za-z][A-Za-z0-9+.-]*://", value):
        return storable_path(value)
    if not HUB.fullmatch(value):
        raise ValueError(
            f"{printable(value.split('://')[0])}://... cannot be read; use a run's or a checkpoint's directory, a "
            "generator.safetensors, or hf://OWNER/NAME, with @REVISION for another than the newest"
        )
    return URL(value)


class InitConfig(Frozen):
    """The weights that a new run begins with (docs/finetuning.md)."""

    from_: Annotated[Path | URL, PlainValidator(_weights), AS_TEXT] | None = Field(default=None, alias="from")
    """Weights to begin with, where names and shapes agree: the directory of a run (its newest checkpoint) or of a
    checkpoint; a generator.safetensors, which has no D; or hf://OWNER/NAME[@REVISION]. null: new weights."""
    strict: bool = False
    """Every tensor must be taken; false: those that do not fit are new, and are listed."""

    @model_serializer(mode="wrap")
    def _with_the_keys(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name.rstrip("_"): value for name, value in dump(self).items()}


class BalanceConfig(Frozen):
    """Keeps D from overwhelming G: lowers D's learning rate and raises its dropout, and undoes it in balance."""

    enabled: bool = False
    """Use the controller."""
    every_steps: PositiveInt = 50
    """Steps between two decisions; each uses the means since the last."""
    d_loss_low: PositiveFloat = 0.2
    """D overwhelms G if its loss is below this (a number for bce; the other losses are twice as large) ..."""
    accuracy_high: Annotated[float, Field(gt=0.5, le=1)] = 0.95
    """... and it is right on at least this share of both the real and the fake images ..."""
    g_loss_high: PositiveFloat = 2.0
    """... and G's loss is above this."""
    accuracy_low: Annotated[float, Field(gt=0, lt=1)] = 0.85
    """D and G are in balance again if D is right on less than this share of the real or the fake images."""
    lr_factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Factor of D's learning rate at each action; it is divided by this when the action is undone."""
    lr_scale_min: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Lower limit of D's learning rate, as a share of its configured value."""
    dropout_step: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Added to D's dropout at each action, subtracted when the action is undone."""
    dropout_max: Probability = 0.7
    """Upper limit of D's dropout."""

    @model_validator(mode="after")
    def _check_gap(self) -> BalanceConfig:
        if self.accuracy_low >= self.accuracy_high:
            raise ValueError(
                f"accuracy_low={self.accuracy_low} must be below accuracy_high={self.accuracy_high}; "
                "nothing is changed while D's accuracy is between them"
            )
        return self


class GuardConfig(Frozen):
    """Checks of several processes: the same weights on all, different images and latents on each."""

    every_steps: PositiveInt | None = free(200)
    """Steps between two checks; there is one more before each checkpoint; null: no checks."""


class WatchdogConfig(Frozen):
    """Reactions to bad numbers: off; warn: a warning; alert: a W&B alert as well; stop: end training, exit code 4;
    rollback: all processes return to the last healthy checkpoint, with lower learning rates."""

    nonfinite: Reaction = free("rollback")
    """A loss or a weight is NaN or infinite."""
    exploding: Reaction = free("alert")
    """A gradient's norm is far above its earlier values."""
    saturated: Reaction = free("warn")
    """D has been right about nearly every image for a long time."""
    collapse: Reaction = free("alert")
    """The generator's images have become alike."""
    gradient_factor: Annotated[float, Field(gt=1)] = free(100.0)
    """Exploding: the mean norm since the last line of metrics is above this multiple of the median of 20 lines."""
    saturated_accuracy: Annotated[float, Field(gt=0.5, le=1)] = free(0.995)
    """Saturated: D's accuracy on the reals and on the fakes is at least this ..."""
    saturated_lines: PositiveInt = free(20)
    """... on this many lines of metrics in a row."""
    diversity_low: NonNegativeFloat = free(0.2)
    """Collapse: `watchdog/diversity` falls below this after it was above."""
    lr_factor: Annotated[float, Field(gt=0, le=1)] = free(0.5)
    """Factor of both learning rates at each rollback, for the rest of the run."""
    max_rollbacks: NonNegativeInt = free(3)
    """Rollbacks that a run may make; if one more is needed, training ends, exit code 4."""


class TrainConfig(Frozen):
    """The budget and shape of the training loop."""

    images: PositiveInt = free(200_000)
    """Budget: real images shown to D (rounded up to whole steps)."""
    batch_size: PositiveInt = 64
    """Global batch: real images per D update, over all processes and micro-batches."""
    accumulation: PositiveInt = 1
    """Micro-batches per update; same result as one batch, less memory."""
    d_steps: PositiveInt = 1
    """D updates per G update."""
    share_fakes: bool = False
    """One forward of G for both updates: faster, but G learns from the fakes that D has just seen. Without augmentation
    a D with fixed features (family `projected`) computes them once for both, too."""
    precision: Literal["auto", "no", "fp16", "bf16"] = "auto"
    """Mixed precision; `accelerate launch --mixed_precision fp16|bf16` wins over this. auto: bf16 on GPUs with it."""
    gradient_compression: Literal["none", "bf16"] = "none"
    """Gradients that processes exchange: none: in full; bf16: half the bytes, rounded to 3 digits (docs/scaling.md)."""
    bucket_mb: Literal["auto"] | PositiveFloat = free("auto")
    """Size of the groups in which gradients are exchanged, MiB: those of the last layers are sent while backward still
    computes the first layers. auto: on CPUs an eighth of the network, on GPUs torch's 25 (docs/scaling.md)."""
    compile: Literal["auto", "off", "on"] = free("auto")
    """torch.compile for both networks; updates of D with a penalty stay eager. auto: off; on CPUs it is not faster, on
    a GPU it was not measured (docs/performance.md)."""
    graphs: Literal["auto", "off", "on"] = free("auto")
    """CUDA graphs of each update's forward and backward, on one GPU: for small networks, whose kernels are shorter than
    their launch. Where that is impossible, training says so and runs without. auto: off; on a GPU it was not measured
    (docs/performance.md)."""
    cpu_threads: PositiveInt | None = free(None)
    """Threads per process when training on the CPU; null: the machine's cores shared out among its processes."""
    seconds: PositiveFloat | None = free(None)
    """Time limit: seconds of training in this start, without evaluations; the last scores, generator and page come
    after it. The same command continues from there. null: no limit."""
    timeout_minutes: PositiveFloat = free(10.0)
    """Time without an answer from a process after which the run ends."""

    @model_validator(mode="after")
    def _check_shared_fakes(self) -> TrainConfig:
        if self.share_fakes and (self.accumulation > 1 or self.d_steps > 1):
            raise ValueError("share_fakes=true needs accumulation=1 and d_steps=1: a step must have one forward of G")
        return self


class LogConfig(Frozen):
    """Metrics and samples that are written during training."""

    every_steps: PositiveInt = free(50)
    """Steps between two lines of metrics."""
    samples_every_steps: PositiveInt = free(500)
    """Steps between two sample grids."""
    samples: PositiveInt = free(64)
    """Generated images in a sample grid, and as many real images beside them."""
    to: Trackers = free((WandbTracker(),))
    """Records of the run beside its files: wandb (section wandb), tensorboard (extra `tensorboard`, RUN/tensorboard),
    trackio (extra `trackio`), package.module:Name; a list of names or of {name, options}; []: only the files."""

    @model_validator(mode="before")
    @classmethod
    def _read_older_name(cls, section: Any) -> Any:
        """`trackers` was the list without W&B, which was always there."""
        if not isinstance(section, dict) or "trackers" not in section:
            return section
        further = section["trackers"]
        if "to" in section:
            raise ValueError("trackers is the older name of to, without wandb; give to alone")
        listed = split_names(further) if isinstance(further, str) else further
        kept = {key: value for key, value in section.items() if key != "trackers"}
        return kept | {"to": ["wandb", *listed] if isinstance(listed, (list, tuple)) else listed}

    def names(self, tracker: str) -> bool:
        """Whether the list has a tracker of this name."""
        return any(chosen.name == tracker for chosen in self.to)


class EvaluateConfig(Frozen):
    """Quality scores during training (docs/judges.md)."""

    every_images: PositiveInt | None = free(None)
    """Real images between two evaluations, one more at the end; null: none."""
    extractor: Annotated[str, AfterValidator(EXTRACTORS.check_name)] = free("efficientnet_lite0")
    """Features: efficientnet_lite0 (extra `quality`, no download); classifier (of the data set's classes; CIFAR-10's
    comes with distgan, `distgan classifier` makes others); inception (extra `inception`: FID); none: only the scores of
    the embedded shapes, which need no network; or package.module:Name (docs/extending.md)."""
    extractor_options: dict[str, Any] = free({})
    """Settings of an extractor from outside."""
    metrics: Metrics = free(())
    """Further scores: package.module:Name, or a list of {name, options}."""
    weights: LocalPath | None = free(None)
    """File with the weights of `classifier` or `inception`; null: CIFAR-10's classifier, torch-fidelity's download."""
    count: Annotated[int, Field(ge=20)] = free(5_000)
    """Number of generated images, from the seeds 0, 1, 2, ..."""
    reference: Location | None = free(None)
    """Data set of the real images to compare with; null: data.path."""
    reference_count: Literal["auto"] | Annotated[int, Field(ge=20)] = free("auto")
    """Number of real images from the reference; auto: 10,000, or all where there are fewer."""
    precision: Literal["no", "bf16"] = free("no")
    """Precision of the features: no (float32) or bf16; scores of the two are not compared."""

    def reals_of(self, images: int) -> int:
        """`reference_count` for a reference of so many images."""
        return min(MAX_REALS, images) if self.reference_count == "auto" else self.reference_count

    @model_validator(mode="after")
    def _check_outside(self) -> EvaluateConfig:
        if self.extractor_options and self.extractor in EXTRACTORS.entries:
            raise ValueError(f"extractor_options is for an extractor from outside, not for {self.extractor}")
        for chosen in self.metrics:
            if (name := short_name(chosen.name)) in METRICS.entries:
                raise ValueError(
                    f"metrics: {chosen.name} would be called {name}, as a score of distgan's own; rename it"
                )
        if self.metrics and self.extractor == "none":
            raise ValueError("metrics need features, and extractor=none has none; use extractor=efficientnet_lite0")
        return self


class BestConfig(Frozen):
    """The best generator of the run, and the end of a training that no longer improves."""

    metric: str | None = free(None)
    """Score that decides, such as fid; null: the extractor's Frechet distance, without one shapes_recognised."""
    patience: PositiveInt | None = free(None)
    """Evaluations in a row without a better score after which training ends; null: no such end."""


class WandbConfig(Frozen):
    """Weights & Biases."""

    mode: Literal["auto", "online", "offline", "disabled"] = free("auto")
    """auto: online with a key, else offline; W&B's own WANDB_MODE is respected."""
    project: str | None = free(None)
    """W&B project; null: that of WANDB_PROJECT or W&B's settings file, without them distgan."""
    entity: str | None = free(None)
    """W&B user or team; null: that of WANDB_ENTITY or W&B's settings file, without them your default."""
    tags: Names = free(())
    """Tags of the run."""
    group: str | None = free(None)
    """Group of the run; null: that of WANDB_RUN_GROUP."""
    job_type: str | None = free(None)
    """Job type of the run; null: that of WANDB_JOB_TYPE."""
    notes: str | None = free(None)
    """Notes on the run; null: those of WANDB_NOTES."""


class CheckpointConfig(Frozen):
    """Full-state checkpoints in RUN/checkpoints."""

    every_steps: PositiveInt = free(500)
    """Steps between two checkpoints; there is one more at the end and on a signal."""
    keep_last: PositiveInt = free(2)
    """Number of the newest checkpoints that are kept."""
    keep_every_steps: PositiveInt | None = free(None)
    """Checkpoints at multiples of this are never removed; null: none."""
    max_failures: PositiveInt | None = free(None)
    """Failed checkpoints in a row after which training ends, exit code 4; null: training continues."""
    retry_minutes: NonNegativeFloat = free(10.0)
    """Time in which the last checkpoint is tried again if it cannot be written (time to free a full disk)."""


class Config(Frozen):
    """All settings of a training run."""

    run: RunConfig = RunConfig()
    data: DataConfig = DataConfig()
    init: InitConfig = InitConfig()
    generator: GeneratorConfig = SeedGenerator()
    discriminator: DiscriminatorConfig = SeedDiscriminator()
    optimizer: OptimizerConfig = OptimizerConfig()
    loss: Loss = LossConfig()
    ema: EmaConfig = EmaConfig()
    augment: AugmentConfig = NoAugment()
    balance: BalanceConfig = BalanceConfig()
    controllers: Controllers = ()
    """Further controllers: package.module:Name, or a list of {name, options}."""
    guard: GuardConfig = GuardConfig()
    watchdog: WatchdogConfig = WatchdogConfig()
    train: TrainConfig = TrainConfig()
    log: LogConfig = LogConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    best: BestConfig = BestConfig()
    wandb: WandbConfig = WandbConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()

    @model_validator(mode="after")
    def _check_conditional(self) -> Config:
        if self.generator.conditional != self.discriminator.conditional:
            raise ValueError(
                f"generator.conditional={str(self.generator.conditional).lower()} but "
                f"discriminator.conditional={str(self.discriminator.conditional).lower()}; set both the same"
            )
        return self

    @model_validator(mode="after")
    def _check_best(self) -> Config:
        for name, value in (("metric", self.best.metric), ("patience", self.best.patience)):
            if value is not None and self.evaluate.every_images is None:
                raise ValueError(
                    f"best.{name}={printable(str(value))} needs evaluations, and there are none; set "
                    f"evaluate.every_images, such as 50_000, or best.{name}=null"
                )
        return self

    @model_validator(mode="after")
    def _check_wasserstein(self) -> Config:
        if not (self.loss.limits_slope or self.loss.penalised or self.discriminator.spectral_norm):
            raise ValueError(
                "loss.name=wasserstein needs a D with a limited slope; set loss.gradient_penalty=10, or "
                "discriminator.spectral_norm=true"
            )
        return self

    @model_validator(mode="after")
    def _check_mode_seeking(self) -> Config:
        if self.loss.mode_seeking.wants_features and self.augment.kind != "none":
            raise ValueError(
                "loss.mode_seeking.on=features takes the augmentation of two fakes for their distance; use "
                "augment.kind=none, or loss.mode_seeking.on=images"
            )
        return self

    @property
    def run_dir(self) -> Path:
        """The directory of the run, run.dir/run.name."""
        return self.run.dir / self.run.name

    @property
    def images_per_step(self) -> int:
        """Real images shown to D in one step (all of its D updates)."""
        return self.train.batch_size * self.train.d_steps

    @property
    def total_steps(self) -> int:
        """Steps that the budget needs, rounded up."""
        return -(-self.train.images // self.images_per_step)
