"""What commands have in common: paths as arguments, and `--config RECIPE` with `KEY=VALUE` overrides. No torch."""

from __future__ import annotations

import argparse
import math
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from distgan.config.yaml_loader import plain_value
from distgan.utils.errors import ConfigError
from distgan.utils.log import log
from distgan.utils.names import nearest_name
from distgan.utils.paths import is_directory, user_path

ENVIRONMENT = "DISTGAN_OVERRIDES"


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, with the nearest choice, in place of its usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}{_nearest_choice(message)}; `{self.prog} --help` has all that it takes\n")


def _nearest_choice(message: str) -> str:
    """`; nearest: NAME` for argparse's error of a choice that there is not, else nothing."""
    found = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
    near = found and nearest_name(found[1], [choice.strip(" '") for choice in found[2].split(",")])
    return f"; nearest: {near}" if near else ""


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--config` and the overrides."""
    parser.add_argument(
        "--config", default="quickstart", metavar="RECIPE", help="a YAML file, or the name of one in configs/"
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as in train.batch_size=64")
    add_trust_argument(parser)


def add_trust_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--trust`."""
    parser.add_argument(
        "--trust", action="append", default=[], metavar="MODULE",
        help="module or package that a run's or generator's file may have imported, for networks, losses, ... that do "
        "not come with distgan: importing runs its code (may be repeated)",
    )  # fmt: skip


def to_path(text: str) -> Path:
    """The type of an argument that is a path: `~` is expanded, and empty text is refused."""
    try:
        return user_path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}': {error}") from None


def to_source(text: str) -> Path | str:
    """The type of an argument that is a generator: text where it may be a repository or `demo`, else as `to_path`."""
    is_path = text.startswith((".", "/", "~")) or ("/" not in text and text != "demo")
    return to_path(text) if is_path else text


def to_file(text: str) -> Path:
    """The type of an argument that is a file to be written: no directory."""
    path = to_path(text)
    if is_directory(path):
        raise argparse.ArgumentTypeError(f"'{text}' is a directory; name a file in it")
    return path


def to_truncation(text: str) -> float:
    """The type of `--truncation`: a finite number above 0."""
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not 0 < limit < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' must be a number above 0, such as 0.7")
    return limit


def option_of(text: str) -> tuple[str, Any]:
    """KEY=VALUE of a class from outside as key and value. Raises ConfigError."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise ConfigError(f"'{text}' is no setting; write KEY=VALUE, such as width=64")
    return key, plain_value(value)


def check_values(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Ends the command where an option has the value `--`, which argparse takes for none and cannot handle."""
    for argument in arguments:
        if argument.startswith("-") and argument.endswith("=--"):
            parser.error(f"{argument}: -- is no value; leave {argument.removesuffix('=--')} out, or give it one")


def parse_config_arguments(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of a parser with these arguments, None: of this process's command line.

    Options that the parser does not know are added to `overrides`: `load_config` refuses them with a sentence that
    shows how an override is written. Overrides after an option are among them; those of DISTGAN_OVERRIDES come last,
    and win. Raises ConfigError.
    """
    check_values(parser, sys.argv[1:] if arguments is None else arguments)
    options, unknown = parser.parse_known_args(arguments)
    mistaken = [text for text in unknown if text.startswith("-")]  # told before the value that stands behind it
    later = [text for text in unknown if text not in mistaken]
    options.overrides = [*mistaken, *options.overrides, *later, *_overrides_of_environment()]
    return options


def _overrides_of_environment() -> list[str]:
    """Those in DISTGAN_OVERRIDES, which a shell's rules separate; they are logged. Raises ConfigError."""
    text = os.environ.get(ENVIRONMENT, "")
    try:
        overrides = shlex.split(text)
    except ValueError as error:
        raise ConfigError(
            f"{ENVIRONMENT}={text}: {error}; write it as in a shell, such as 'a.b=1 c.d=[x, y]'"
        ) from None
    if overrides:
        log.info("%s, which comes last: %s", ENVIRONMENT, shlex.join(overrides))
    return overrides
