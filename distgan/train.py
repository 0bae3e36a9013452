"""The training command: `distgan train`, `accelerate launch distgan/train.py`, `torchrun distgan/train.py`.

In: a recipe, overrides and the launcher's environment. Out: a run directory, and an exit code.
"""

from __future__ import annotations

import sys

if not __package__:  # run as a file: Python has put distgan/ itself first on the path, where it hides other modules
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
import os
import signal
import time
from collections.abc import Sequence

from distgan.distributed.signals import Signals  # first: launcher.py remembers who started this process

# isort: split
from distgan.config.command_line import ENVIRONMENT, Parser, add_config_arguments, parse_config_arguments, to_path
from distgan.config.help import help_text
from distgan.config.load import load_config, to_yaml
from distgan.utils import cpu
from distgan.utils.background import leave
from distgan.utils.errors import DistganError, Stopped
from distgan.utils.log import as_it_was, check_stdout, guard_stdout, launch_rank, log, show_on_terminal
from distgan.utils.system import check_system

os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # its warnings of a lost connection are 40 lines of C++ stack
RANK_0_SECONDS = 5.0  # for rank 0 to report an error that all ranks share


def parse(arguments: Sequence[str] | None, program: str | None = None) -> argparse.Namespace:
    """Parses --config, --resume, --print-config and the overrides. program: the command's name in its help."""
    return parse_config_arguments(build_parser(program), arguments)


def build_parser(program: str | None = None) -> argparse.ArgumentParser:
    """The parser of the command. program: its name in the help."""
    parser = Parser(
        prog=program,
        usage="%(prog)s [--config RECIPE] [--resume auto|never|CHECKPOINT] [--print-config] [KEY=VALUE ...]",
        description="Train a GAN. With no arguments: configs/quickstart.yaml, on the embedded shapes.",
        epilog=f"{ENVIRONMENT}='KEY=VALUE ...': overrides that come last.\n\n"
        "keys <rule> [default where the recipe says nothing]:\n" + help_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_arguments(parser)
    return parser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `distgan train`."""
    add_config_arguments(parser)
    parser.add_argument(
        "--resume",
        default="auto",
        type=_resume,
        metavar="WHAT",
        help=(
            "auto (default): continue from the newest complete checkpoint of the run, if there is one; never: start "
            "from the beginning; or the directory of a checkpoint"
        ),
    )
    parser.add_argument("--print-config", action="store_true", help="print the resolved configuration and stop")


@as_it_was()
def main(arguments: Sequence[str] | None = None, program: str | None = None) -> int:
    """Trains and returns the exit code.

    0: trained to the end. 2: a user error. 3: another process was lost or disagrees. 4: ended by a rule of the
    configuration. 130, 143: stopped by a signal after saving. program: the command's name in its help.
    """
    show_on_terminal()
    cpu.spin_briefly()
    with Signals() as signals:
        try:
            check_system()
            options = parse(arguments, program)
            config = load_config(options.config, options.overrides, options.trust)
            guard_stdout()
            if options.print_config:
                print(to_yaml(config), end="")
                check_stdout()
                return 0
            from distgan.training.fit import fit  # torch and accelerate, seconds: not needed for --help

            fit(config, resume=options.resume, signals=signals)
        except KeyboardInterrupt:
            signals.end()
            return _report(Stopped("stopped by SIGINT before training began; nothing was lost", signal.SIGINT), signals)
        except DistganError as error:
            signals.end()  # a launcher's SIGTERM for another rank must not end this one before its report
            return _report(error, signals)
        return 0


def _resume(text: str) -> str:
    return text if text in ("auto", "never") else str(to_path(text))


def _report(error: DistganError, signals: Signals) -> int:
    """Reports an error on stderr: one that all ranks share on rank 0 only, one of a single rank with its number."""
    if launch_rank() == "0" or not error.everywhere:
        log.error("%s", error)
    elif not isinstance(error, Stopped):
        _wait_for_rank_0(signals)
    return error.exit_code


def _wait_for_rank_0(signals: Signals) -> None:
    """Gives rank 0 the time to report the error: a launcher ends all processes as soon as one has failed."""
    deadline = time.monotonic() + RANK_0_SECONDS
    while signals.received is None and time.monotonic() < deadline:
        time.sleep(0.05)


if __name__ == "__main__":
    leave(main)
