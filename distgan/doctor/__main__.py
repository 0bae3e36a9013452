"""The command: `distgan doctor`, `python -m distgan.doctor`, `torchrun -m ...`, `accelerate launch -m ...`.

In: the recipe and overrides of `distgan train`. Out: the report, and an exit code.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence

from distgan.config.command_line import Parser, add_config_arguments, parse_config_arguments
from distgan.config.load import load_config
from distgan.utils import cpu
from distgan.utils.errors import DistganError, Stopped
from distgan.utils.log import as_it_was, check_stdout, guard_stdout, launch_rank, log, show_on_terminal
from distgan.utils.system import check_system


def parse(arguments: Sequence[str] | None, program: str | None = None) -> argparse.Namespace:
    """Parses --config, --json, --quick and the overrides. program: the command's name in its help."""
    return parse_config_arguments(build_parser(program), arguments)


def build_parser(program: str | None = None) -> argparse.ArgumentParser:
    """The parser of the command. program: its name in the help."""
    parser = Parser(
        prog=program or "python -m distgan.doctor",
        usage="%(prog)s [--config RECIPE] [--json] [--quick] [KEY=VALUE ...]",
        description=(
            "Check everything that a training needs before it is launched; nothing is changed. For several "
            "processes, start it as you start the training: `accelerate launch ... -m distgan.doctor`, `torchrun ... "
            "-m distgan.doctor`. The exit code is 2 if a line says FAIL."
        ),
        epilog="`distgan train --help` lists the keys.",
        allow_abbrev=False,
    )
    add_arguments(parser)
    return parser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `distgan doctor`."""
    add_config_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    parser.add_argument("--quick", action="store_true", help="skip the checksums of the shards")


@as_it_was()
def main(arguments: Sequence[str] | None = None, program: str | None = None) -> int:
    """Returns the exit code: 0, or 2 if a check failed; 130 or 143 after a signal."""
    show_on_terminal()
    cpu.spin_briefly()
    main_process = launch_rank() == "0"
    try:
        with _stopped_by_sigterm():
            return _examine(arguments, program, main_process)
    except Stopped as error:  # it came while another mistake was being told: a launcher ends the other ranks so
        return error.exit_code


def _examine(arguments: Sequence[str] | None, program: str | None, main_process: bool) -> int:
    try:
        check_system()
        options = parse(arguments, program)
        config = load_config(options.config, options.overrides, options.trust)
        from distgan.doctor.output import Report
        from distgan.doctor.runner import Doctor  # torch and accelerate, seconds: not needed for --help

        guard_stdout()
        code = Doctor(config, options.quick, Report(options.json, main_process)).run()
        check_stdout()
    except KeyboardInterrupt:
        log.info("interrupted")
        return 130
    except DistganError as error:
        if main_process:
            log.error("%s", error)
        return error.exit_code
    return code


@contextlib.contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """SIGTERM raises Stopped here, if this is the main thread: every check reports what it was doing."""

    def stop(_signum: int, _frame: object) -> None:
        raise Stopped("stopped by SIGTERM", signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
