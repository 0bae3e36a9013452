"""`distgan report RUN`: writes RUN/report.html."""

from __future__ import annotations

import argparse

from pydantic import ValidationError

from distgan.config.command_line import add_trust_argument, to_path
from distgan.config.messages import first_mistake
from distgan.config.schema import DataConfig
from distgan.training.report.write import write_report
from distgan.utils.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `distgan report`."""
    parser.add_argument("run", type=to_path, metavar="RUN", help="run directory, such as runs/quickstart")
    parser.add_argument(
        "--data", metavar="SHARDS", help="directory or URL of the real images (default: the training data)"
    )
    add_trust_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Writes the page and prints its path. Raises ConfigError."""
    try:
        data = None if args.data is None else DataConfig(path=args.data)
    except ValidationError as error:
        raise ConfigError(f"--data: {first_mistake(error).rule}") from None
    print(f"report: {write_report(args.run, data, args.trust)}")
    return 0
