"""The recipe of the quick runs: all that a test's figures depend on, so that the quickstart may change."""

TINY = (
    "generator.width=8",
    "generator.stem_channels=8",
    "generator.depth=1",
    "discriminator.width=8",
    "discriminator.dropout=0.2",
    "optimizer.generator.lr=4e-4",
    "optimizer.discriminator.lr=4e-4",
    "loss.label_noise=0.05",
    "loss.r1_gamma=0",
    "train.share_fakes=false",
    "train.batch_size=12",
    "train.images=240",
    "wandb.mode=disabled",
    "train.cpu_threads=1",
    "log.every_steps=5",
    "log.samples_every_steps=10",
    "log.samples=4",
    "checkpoint.every_steps=5",
)

SCORED = (
    "evaluate.every_images=60",
    "evaluate.count=20",
    "evaluate.reference_count=40",
)
"""Evaluations after every fifth step of such a run, by EfficientNet-Lite0, in a second."""

SHAPES_SCORED = (*SCORED[:2], "evaluate.extractor=none")
"""Evaluations after every fifth step, from the pixels of the shapes: no network."""
