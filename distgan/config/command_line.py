"""The arguments that `train` and `doctor` have in common: `--config RECIPE` and `KEY=VALUE` overrides. No torch."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--config` and the overrides."""
    parser.add_argument(
        "--config", default="quickstart", metavar="RECIPE", help="a YAML file, or the name of one in configs/"
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as in train.batch_size=64")


def parse_config_arguments(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of a parser with these arguments, None: of this process's command line.

    Options that the parser does not know are added to `overrides`: `load_config` refuses them with a sentence that
    shows how an override is written. Overrides after an option are among them, so they come last, and win.
    """
    options, unknown = parser.parse_known_args(arguments)
    options.overrides += unknown
    return options
