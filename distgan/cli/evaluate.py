"""`distgan evaluate GENERATOR`: the scores of a generator, and of real images by the same protocol.

In: a generator file and real images in shards. Out: a table, and with --out the scores as JSON. Processes that
`torchrun -m distgan evaluate ...` or accelerate started share the work.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from pydantic import ValidationError

from distgan.config.command_line import to_path
from distgan.config.messages import config_mistakes, first_mistake
from distgan.config.schema import DataConfig, EvaluateConfig
from distgan.data.dataset import location_of
from distgan.data.shards.manifest import MANIFEST, load_manifest
from distgan.distributed.collectives import joined, rank
from distgan.inference.generator import Generator, find_device, load_generator
from distgan.inference.sampling import find_file
from distgan.metrics.evaluator import Evaluator
from distgan.metrics.extractors.inception import STANDARD_SHA256
from distgan.metrics.protocol import Protocol, Scores, check_same, compare, load_scores, save_scores
from distgan.utils.errors import ConfigError, QualityError
from distgan.utils.paths import user_path
from distgan.utils.safe_io import printable

DEFAULTS = EvaluateConfig()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `distgan evaluate`."""
    parser.add_argument("file", type=to_path, metavar="GENERATOR", help="generator.safetensors, or a run's directory")
    parser.add_argument("--data", metavar="SHARDS", help="directory or URL of real images (default: the training data)")
    parser.add_argument(
        "--extractor",
        choices=("efficientnet_lite0", "inception", "none"),
        default=DEFAULTS.extractor,
        help="network whose features are compared; inception: FID; none: only the embedded shapes, from their pixels",
    )
    parser.add_argument(
        "--weights-file", type=to_path, metavar="FILE", help="Inception's weights (default: a download)"
    )
    parser.add_argument(
        "--count", default=DEFAULTS.count, metavar="N", help="number of generated images (default: %(default)s)"
    )
    parser.add_argument(
        "--reference-count",
        default=DEFAULTS.reference_count,
        metavar="N",
        help="number of real images (default: %(default)s)",
    )
    parser.add_argument(
        "--precision", choices=("no", "bf16"), default="no", help="precision of the features (default: no, fp32)"
    )
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or mps (default: auto)")
    parser.add_argument("--out", type=to_path, metavar="FILE.json", help="file for the scores")
    parser.add_argument("--against", type=to_path, metavar="FILE.json", help="earlier scores to compare with")


def run(args: argparse.Namespace) -> int:
    """Evaluates, prints and writes. Raises DistganError, before the long work if possible."""
    try:
        return evaluate(args, settings(args))
    except QualityError as error:
        raise QualityError(to_option_names(str(error))) from None


def to_option_names(text: str) -> str:
    """A message with the options' names in place of configuration keys."""
    text = text.replace("evaluate.weights", "--weights-file")
    return re.sub(r"evaluate\.(\w+)", lambda key: f"--{key[1].replace('_', '-')}", text)


def evaluate(args: argparse.Namespace, config: EvaluateConfig) -> int:
    """Evaluates on all processes; the main process prints and writes. Returns 0."""
    before = None if args.against is None else load_scores(args.against)
    with process_device(args.device) as device:
        main = rank() == 0
        path = find_file(args.file)
        generator = load_generator(path, device)
        evaluator = Evaluator(config, reference_data(generator, path, args.data), device, show=main)
        if before is not None:
            check_same(before.protocol, evaluator.protocol)
        scores = evaluator.evaluate(generator)
    if main:
        print(table(scores, before))
        if args.out is not None:
            save_scores(args.out, scores)
            print(f"scores: {args.out}")
    return 0


def settings(args: argparse.Namespace) -> EvaluateConfig:
    """The command line as a configuration. Raises ConfigError."""
    given = {
        "extractor": args.extractor,
        "weights": args.weights_file,
        "count": args.count,
        "reference_count": args.reference_count,
        "precision": args.precision,
    }
    try:
        return EvaluateConfig.model_validate(given)
    except ValidationError as error:
        key, equals, rest = config_mistakes(error, 1)[0].partition("=")
        raise ConfigError(f"--{key.replace('_', '-')}{equals}{rest}") from None


@contextmanager
def process_device(device: str) -> Iterator[torch.device]:
    """The device of this process. Processes that a launcher started are joined inside the context."""
    launched = all(os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))
    if not launched or os.environ["WORLD_SIZE"] == "1":
        yield find_device(device)
        return
    on_gpu = device != "cpu" and torch.cuda.is_available()
    own = find_device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if on_gpu else "cpu")
    if on_gpu:
        torch.cuda.set_device(own)
    with joined("nccl" if on_gpu else "gloo"):
        yield own


def reference_data(generator: Generator, path: Path, given: str | None) -> DataConfig:
    """The real images to compare with. Raises ConfigError, QualityError, DataError.

    given: --data, limited to the generator's classes if the data set has all of them. None: the training data, if they
    are a directory on this machine; a URL in a generator file is not followed.
    """
    classes = generator.class_names or None
    try:
        if given is not None:
            data = DataConfig(path=given)  # type: ignore[arg-type]
            has_all = set(generator.class_names) <= set(load_manifest(location_of(data)).classes)
            return data.model_copy(update={"classes": classes if has_all else None})
    except ValidationError as error:
        raise ConfigError(f"--data: {first_mistake(error).rule}") from None
    recorded = generator.description.config.get("data")
    directory = recorded.get("path") if isinstance(recorded, dict) else None
    with suppress(ValueError):  # it is no path
        if isinstance(directory, str) and "://" not in directory and (user_path(directory) / MANIFEST).is_file():
            return DataConfig(path=user_path(directory), classes=classes)
    raise QualityError(
        f"{path} was trained on {printable(str(directory))}, which is not a data set on this machine; "
        "name the real images with --data SHARDS"
    )


def table(scores: Scores, before: Scores | None) -> str:
    """A line for each value: the generator's, its spread, real images', the better direction, the change."""
    changes = {} if before is None else compare(before, scores)
    rows: list[tuple[str, ...]] = [("value", "generator", "spread", "real", "better", "change" if changes else "")]
    for name, value in scores.values.items():
        numbers = (value, scores.spreads.get(name), scores.real_values.get(name))
        change = f"{changes[name]:+.4g}" if name in changes else ""
        rows.append(
            (name, *("-" if number is None else f"{number:.4g}" for number in numbers), scores.better(name), change)
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    real = "real: as many other real images" if scores.real_values else "real: the data set has too few other images"
    facts = f"{scores.weights} weights {scores.weight_digest[:12]}, {scores.images_seen:,} images seen"
    return "\n".join([*lines, f"{real}; spread: over ten parts", facts, describe(scores.protocol)])


def describe(protocol: Protocol) -> str:
    """The protocol as lines of text."""
    generated = f"{protocol.count:,} generated (seeds {protocol.seeds})"
    reference = f"{protocol.reference_digest[:12]} ({printable(protocol.reference_split)})"
    if protocol.extractor == "none":
        return f"{generated}, data {reference}; pixels only, version {protocol.version}"
    precision = "fp32" if protocol.precision == "no" else protocol.precision
    features = f"{protocol.extractor} {str(protocol.extractor_digest)[:12]} at {protocol.resize} px, {precision}"
    lines = [
        f"{generated} against {protocol.reference_count:,} real images, data {reference}",
        f"features: {features}; k {protocol.manifold_k} and {protocol.density_k}; version {protocol.version}",
    ]
    if protocol.extractor == "inception" and not str(protocol.extractor_digest).startswith(STANDARD_SHA256):
        lines.append("these are not torch-fidelity's weights: not comparable with FID of other programs")
    return "\n".join(lines)
