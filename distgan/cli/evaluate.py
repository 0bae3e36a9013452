"""`distgan evaluate GENERATOR`: what a generator is worth, beside what real images are worth by the same protocol.

In: a generator file and real images in shards. Out: a table, and with --out the scores as JSON. Processes that
`torchrun -m distgan evaluate ...` or accelerate has started share the work.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from pydantic import ValidationError

from distgan.config.schema import DataConfig, EvaluateConfig
from distgan.data.dataset import location_of
from distgan.data.shards.manifest import MANIFEST, load_manifest
from distgan.distributed.collectives import joined, rank
from distgan.inference.generator import Generator, find_device, load_generator
from distgan.inference.sampling import find_file
from distgan.metrics.evaluator import Evaluator
from distgan.metrics.extractors.inception import STANDARD
from distgan.metrics.protocol import Protocol, Scores, check_same, compare, load_scores, save_scores
from distgan.metrics.registry import better
from distgan.utils.errors import ConfigError, QualityError
from distgan.utils.safe_io import printable

DEFAULTS = EvaluateConfig()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `distgan evaluate`."""
    parser.add_argument("file", type=Path, metavar="GENERATOR", help="generator.safetensors, or a run's directory")
    parser.add_argument("--data", metavar="SHARDS", help="directory or URL of real images (default: the training data)")
    parser.add_argument(
        "--extractor",
        choices=("efficientnet_lite0", "inception", "none"),
        default=DEFAULTS.extractor,
        help="network whose features are compared; inception: FID; none: embedded shapes, from their pixels",
    )
    parser.add_argument("--weights-file", type=Path, metavar="FILE", help="Inception's weights (default: a download)")
    parser.add_argument("--count", default=DEFAULTS.count, metavar="N", help="generated images (default: %(default)s)")
    parser.add_argument(
        "--reference-count", default=DEFAULTS.reference_count, metavar="N", help="real images (default: %(default)s)"
    )
    parser.add_argument("--precision", choices=("no", "bf16"), default="no", help="of the features (default: no, fp32)")
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where the scores go")
    parser.add_argument("--against", type=Path, metavar="FILE.json", help="earlier scores to compare with")


def run(args: argparse.Namespace) -> int:
    """Evaluates, prints and writes. Raises DistganError, before the long work where that can be known."""
    try:
        return evaluate(args, settings(args))
    except QualityError as error:
        raise QualityError(in_options(str(error))) from None


def in_options(text: str) -> str:
    """A sentence about the configuration, in the words of the command line."""
    text = text.replace("evaluate.weights", "--weights-file")
    return re.sub(r"evaluate\.(\w+)", lambda key: f"--{key[1].replace('_', '-')}", text)


def evaluate(args: argparse.Namespace, config: EvaluateConfig) -> int:
    before = None if args.against is None else load_scores(args.against.expanduser())
    with together(args.device) as device:
        main = rank() == 0
        path = find_file(args.file.expanduser())
        generator = load_generator(path, device)
        evaluator = Evaluator(config, real_images(generator, path, args.data), device, show=main)
        if before is not None:
            check_same(before.protocol, evaluator.protocol)
        scores = evaluator.evaluate(generator)
    if main:
        print(table(scores, before))
        if args.out is not None:
            save_scores(args.out.expanduser(), scores)
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
        first = error.errors(include_url=False)[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise ConfigError(f"--{option}={printable(str(first['input']))}: {_told(first['msg'])}") from None


@contextmanager
def together(device: str) -> Iterator[torch.device]:
    """This process' device; where a launcher has started several processes, they are joined meanwhile."""
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


def real_images(generator: Generator, path: Path, given: str | None) -> DataConfig:
    """The data set to compare with. Raises QualityError, DataError.

    given: of the classes that the generator has learned, where the data set has all of them, else of all that it has.
    Without it the training data, if they are a directory that is here: a URL in a file is not followed.
    """
    classes = generator.class_names or None
    try:
        if given is not None:
            whole = DataConfig(path=given)  # type: ignore[arg-type]
            shared = set(generator.class_names) <= set(load_manifest(location_of(whole)).classes)
            return whole.model_copy(update={"classes": classes if shared else None})
    except ValidationError as error:
        raise ConfigError(f"--data: {_told(error.errors(include_url=False)[0]['msg'])}") from None
    recorded = generator.description.config.get("data")
    place = recorded.get("path") if isinstance(recorded, dict) else None
    if isinstance(place, str) and "://" not in place and (Path(place) / MANIFEST).is_file():
        return DataConfig(path=Path(place), classes=classes)
    raise QualityError(
        f"{path} was trained on {printable(str(place))}, which is no data set on this machine; "
        "name the real images with --data SHARDS"
    )


def _told(text: str) -> str:
    return text.removeprefix("Value error, ")


def table(scores: Scores, before: Scores | None) -> str:
    """Values by line: the generator's, their spread, the floor's, which way is better, and the change."""
    changes = {} if before is None else compare(before, scores)
    rows: list[tuple[str, ...]] = [("value", "generator", "spread", "real", "better", "change" if changes else "")]
    for name, value in scores.values.items():
        numbers = (value, scores.spreads.get(name), scores.real_values.get(name))
        change = f"{changes[name]:+.4g}" if name in changes else ""
        rows.append((name, *("-" if number is None else f"{number:.4g}" for number in numbers), better(name), change))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    real = "real: as many other real images" if scores.real_values else "real: the data set has too few other images"
    facts = f"{scores.weights} weights {scores.weight_digest[:12]}, {scores.images_seen:,} images seen"
    return "\n".join([*lines, f"{real}; spread: over ten parts", facts, described(scores.protocol)])


def described(protocol: Protocol) -> str:
    """The protocol, as lines of text."""
    shown = f"{protocol.count:,} generated (seeds {protocol.seeds})"
    reference = f"{protocol.reference_digest[:12]} ({printable(protocol.reference_split)})"
    if protocol.extractor == "none":
        return f"{shown}, data {reference}; pixels only, version {protocol.version}"
    precision = "fp32" if protocol.precision == "no" else protocol.precision
    features = f"{protocol.extractor} {str(protocol.extractor_digest)[:12]} at {protocol.resize} px, {precision}"
    lines = [
        f"{shown} against {protocol.reference_count:,} real images, data {reference}",
        f"features: {features}; k {protocol.manifold_k} and {protocol.density_k}; version {protocol.version}",
    ]
    if protocol.extractor == "inception" and not str(protocol.extractor_digest).startswith(STANDARD):
        lines.append("these are not torch-fidelity's weights: not comparable with FID of other programs")
    return "\n".join(lines)
