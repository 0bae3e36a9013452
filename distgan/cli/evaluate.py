"""`distgan evaluate GENERATOR`: the scores of a generator, and of real images by the same protocol.

In: a generator file and real images in shards. Out: a table, and with --out the scores as JSON. Processes that
`torchrun -m distgan evaluate ...` or accelerate started share the work.
"""

from __future__ import annotations

import argparse
import re

from distgan.cli.places import check_place
from distgan.config.choices import EXTRACTORS
from distgan.config.command_line import add_trust_argument, to_file, to_path, to_source, to_truncation
from distgan.config.schema import EvaluateConfig
from distgan.distributed.collectives import rank
from distgan.metrics.evaluate import evaluate, evaluate_config, process_device, reference_data
from distgan.metrics.extractors.inception import STANDARD_SHA256
from distgan.metrics.protocol import Protocol, Scores, compare, load_scores, save_scores
from distgan.training.checkpoint.find import ANY_SOURCE, open_generator
from distgan.utils.errors import ConfigError, QualityError
from distgan.utils.safe_io import printable

DEFAULTS = EvaluateConfig()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `distgan evaluate`."""
    parser.add_argument("file", type=to_source, metavar="RUN|FILE|OWNER/NAME", help=ANY_SOURCE)
    parser.add_argument("--data", metavar="SHARDS", help="directory or URL of real images (default: the training data)")
    parser.add_argument(
        "--extractor",
        default=DEFAULTS.extractor,
        metavar="NAME",
        help=f"network whose features are compared: {', '.join(EXTRACTORS.entries)} or package.module:Name (default: "
        "%(default)s); classifier: of the data set's classes; inception: FID; none: only the "
        "embedded shapes, from their pixels",
    )
    parser.add_argument(
        "--metric", action="append", default=[], metavar="NAME",
        help="one more score, package.module:Name (may be repeated; docs/extending.md)",
    )  # fmt: skip
    parser.add_argument(
        "--weights-file", type=to_path, metavar="FILE",
        help="weights of classifier or inception (default: CIFAR-10's classifier; a download)",
    )  # fmt: skip
    parser.add_argument(
        "--count", default=DEFAULTS.count, metavar="N", help="number of generated images (default: %(default)s)"
    )
    parser.add_argument(
        "--reference-count", default=DEFAULTS.reference_count, metavar="N",
        help="number of real images (default: 10,000, or all where there are fewer)",
    )  # fmt: skip
    parser.add_argument(
        "--truncation", type=to_truncation, metavar="T",
        help="limit the latent numbers to [-T, T], as distgan sample does",
    )  # fmt: skip
    parser.add_argument(
        "--precision", choices=("no", "bf16"), default="no", help="precision of the features (default: no, fp32)"
    )
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or mps (default: auto)")
    parser.add_argument("--out", type=to_file, metavar="FILE.json", help="file for the scores")
    parser.add_argument("--against", type=to_path, metavar="FILE.json", help="earlier scores to compare with")
    add_trust_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluates; the main process prints and writes. Raises DistganError, before the long work if possible."""
    before = None if args.against is None else load_scores(args.against)
    if args.out is not None:
        check_place(args.out, ".json", load_scores)
    settings = {name: getattr(args, name) for name in ("extractor", "count", "reference_count", "precision")}
    settings |= {"weights": args.weights_file, "metrics": args.metric}
    with process_device(args.device) as device:
        try:
            evaluate_config(settings)  # a mistake is said before a generator is loaded
            generator, found = open_generator(args.file, args.trust, device)
            reference = reference_data(generator, "the generator", args.data)
            scores = evaluate(generator, reference, device, against=before, truncation=args.truncation, **settings)
        except (ConfigError, QualityError) as error:
            raise type(error)(to_option_names(str(error))) from None
        main = rank() == 0
    if main:
        print(f"{table(scores, before)}\nof {found}")
    if main and args.out is not None:
        save_scores(args.out, scores)
        print(f"scores: {args.out}")
    return 0


def to_option_names(text: str) -> str:
    """A message with the options' names in place of configuration keys."""
    text = (
        re.sub(r"evaluate\.metrics(\.\d+\.name)?", "--metric", text)
        .replace("evaluate.weights", "--weights-file")
        .replace(" with data=", " with --data ")
    )
    return re.sub(r"evaluate\.(\w+)", lambda key: f"--{key[1].replace('_', '-')}", text)


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
    limit = "" if protocol.truncation is None else f", truncation {protocol.truncation:g}"
    generated = f"{protocol.count:,} generated (seeds {protocol.seeds}{limit})"
    reference = f"{protocol.reference_digest[:12]} ({printable(protocol.reference_split)})"
    if protocol.extractor == "none":
        return f"{generated}, data {reference}; pixels only, version {protocol.version}"
    precision = "fp32" if protocol.precision == "no" else protocol.precision
    features = f"{protocol.extractor} {str(protocol.extractor_digest)[:12]} at {protocol.resize} px, {precision}"
    if protocol.channels == 1:
        features += ", gray shown as RGB"
    lines = [
        f"{generated} against {protocol.reference_count:,} real images, data {reference}",
        f"features: {features}; k {protocol.manifold_k} and {protocol.density_k}; version {protocol.version}",
    ]
    if protocol.extractor == "inception" and not str(protocol.extractor_digest).startswith(STANDARD_SHA256):
        lines.append("these are not torch-fidelity's weights: not comparable with FID of other programs")
    return "\n".join(lines)
