"""`distgan classifier DATA --out FILE`: trains the small classifier that judges generated images of that data set.

In: labelled images in shards. Out: a file for the extractor `classifier` (docs/judges.md), and its accuracy.
"""

from __future__ import annotations

import argparse
import time

import torch
from pydantic import ValidationError

from distgan.cli.places import check_place
from distgan.cli.prepare_sources import natural, positive
from distgan.config.command_line import to_file
from distgan.config.messages import first_mistake
from distgan.config.schema import DataConfig
from distgan.data import reference
from distgan.data.bad_samples import SkipBudget
from distgan.data.resident import load_images
from distgan.data.shards.manifest import Manifest
from distgan.data.shards.selection import ShardSelection
from distgan.inference.generator import find_device
from distgan.metrics.classifier_file import (
    MAX_SIZE,
    MIN_SIZE,
    ClassifierDescription,
    load_classifier,
    round_weights,
    save_classifier,
)
from distgan.metrics.classifier_training import Labelled, Schedule, accuracy, split_off, train_classifier
from distgan.utils import cpu
from distgan.utils.errors import QualityError
from distgan.utils.names import join_names

DEFAULTS = Schedule()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `distgan classifier`."""
    parser.add_argument("data", metavar="DATA", help="directory or URL of labelled images in shards")
    parser.add_argument("--out", type=to_file, required=True, metavar="FILE.safetensors", help="the classifier's file")
    parser.add_argument(
        "--test", metavar="DATA",
        help="images of the same classes, for the accuracy (default: a tenth of DATA, which is not trained on)",
    )  # fmt: skip
    parser.add_argument(
        "--epochs", type=positive, default=DEFAULTS.epochs, metavar="N", help="passes over DATA (default: %(default)s)"
    )
    parser.add_argument("--seed", type=natural, default=DEFAULTS.seed, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--no-flip", action="store_true", help="never mirror an image: for digits, letters, signs")
    parser.add_argument(
        "--precision", choices=("auto", "no", "bf16"), default="auto",
        help="auto: bf16 on a GPU or a CPU that has it, else no (fp32)",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or mps (default: auto)")


def run(args: argparse.Namespace) -> int:
    """Trains, writes the file, and prints its accuracy. Raises DataError, QualityError, ExportError."""
    start, device = time.monotonic(), find_device(args.device)
    schedule = Schedule(args.epochs, seed=args.seed, flip=not args.no_flip, bf16=is_bf16(args.precision, device))
    check_place(args.out, ".safetensors", load_classifier)
    manifest, selection = open_labelled(args.data)
    tests = None if args.test is None else open_test(args.test, selection, manifest.digest)
    real, test = read(selection, tests, args.seed)
    network = train_classifier(real, test, len(selection.classes), schedule, device, show=True)
    round_weights(network)
    description = ClassifierDescription(
        class_names=selection.classes,
        size=selection.size,
        channels=manifest.channels,
        accuracy=accuracy(network, test, device),
        tested_on=len(test.labels),
        data_digest=manifest.digest,
    )
    size = save_classifier(args.out, network, description)
    print(
        f"{args.out}: {len(selection.classes)} classes, accuracy {100 * description.accuracy:.1f} % on "
        f"{description.tested_on:,} other images, {size / 1e6:.2f} MB (made in {time.monotonic() - start:,.0f} s)"
    )
    return 0


def is_bf16(chosen: str, device: torch.device) -> bool:
    """Whether to compute in bf16. chosen: no, bf16, or auto, which takes it where the hardware has it."""
    if chosen != "auto":
        return chosen == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and cpu.has_bf16()


def open_labelled(path: str) -> tuple[Manifest, ShardSelection]:
    """The manifest and the images of a data set. Raises DataError, QualityError: one class, or too small images."""
    try:
        manifest, selection = reference.open_data(DataConfig(path=path))  # type: ignore[arg-type]
    except ValidationError as error:
        raise QualityError(f"{path}: {first_mistake(error).rule}") from None
    if len(selection.classes) < 2:
        raise QualityError(
            f"{path} has a single class, {join_names(selection.classes)}; a classifier needs two or more"
        )
    if not MIN_SIZE <= selection.size <= MAX_SIZE:
        raise QualityError(
            f"{path} has images of {selection.size} pixels, and a classifier's have {MIN_SIZE} to {MAX_SIZE}; prepare "
            f"them again with --size {MIN_SIZE if selection.size < MIN_SIZE else MAX_SIZE}"
        )
    return manifest, selection


def open_test(path: str, real: ShardSelection, digest: str) -> ShardSelection:
    """The images for the accuracy. digest: of the data set to train on.

    Raises DataError, QualityError if they are the same, or of other classes or another form.
    """
    manifest, selection = open_labelled(path)
    if manifest.digest == digest:
        raise QualityError(
            f"--test {path} has the images to train on; leave it out: a tenth of them is kept for the test"
        )
    for name, one, other in (
        ("classes", join_names(selection.classes), join_names(real.classes)),
        ("size", selection.size, real.size),
        ("channels", selection.form.channels, real.form.channels),
    ):
        if one != other:
            raise QualityError(f"--test {path}: its {name} {one} must be those to train on, {other}")
    return selection


def read(selection: ShardSelection, tests: ShardSelection | None, seed: int) -> tuple[Labelled, Labelled]:
    """Images to train on, and others for the accuracy: a tenth of them where there is no test set."""
    real = Labelled(*load_images(selection, SkipBudget(0), progress=True))
    if tests is None:
        return split_off(real, seed)
    return real, Labelled(*load_images(tests, SkipBudget(0), progress=True))
