"""What `accelerate launch distgan/train.py` runs: parse, build, fit.

Also `accelerate launch -m distgan.train`, `torchrun distgan/train.py`, and, in one process, `distgan train`.
"""

from __future__ import annotations

import sys

if not __package__:  # run as a file: Python has put distgan/ itself first on the path, where it hides other modules
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
import os
import signal
import threading
from collections.abc import Sequence

from distgan.config.command_line import add_config_arguments, parse_config_arguments
from distgan.config.load import help_text, load_config, to_yaml
from distgan.distributed import launcher  # first: it remembers who started this process
from distgan.utils import cpu
from distgan.utils.errors import DistganError, Stopped


def parse(arguments: Sequence[str] | None, program: str | None = None) -> argparse.Namespace:
    """Parses --config, --resume, --print-config and the overrides. program: the command's name in its help."""
    parser = argparse.ArgumentParser(
        prog=program,
        usage="%(prog)s [--config RECIPE] [--resume auto|never|CHECKPOINT] [--print-config] [KEY=VALUE ...]",
        description="Train a GAN. With no arguments: configs/quickstart.yaml, on the embedded shapes.",
        epilog="keys <rule> [default where the recipe says nothing]:\n" + help_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_config_arguments(parser)
    parser.add_argument(
        "--resume",
        default="auto",
        metavar="WHAT",
        help=(
            "auto (default): continue from the newest complete checkpoint of the run, if there is one; never: start "
            "from the beginning; or the directory of a checkpoint"
        ),
    )
    parser.add_argument("--print-config", action="store_true", help="print the resolved configuration and stop")
    return parse_config_arguments(parser, arguments)


RANK_0 = 5.0  # seconds in which rank 0 has reported an error that all ranks share


def main(arguments: Sequence[str] | None = None, program: str | None = None) -> int:
    """Returns the exit code: 0 trained to the end, 2 a mistake to mend, 3 another process was lost or disagrees,
    4 ended by a rule of the configuration, 130 or 143 stopped by a signal after saving."""
    cpu.spin_briefly()
    signal.signal(signal.SIGTERM, _stop_before_training)
    launcher.watch()
    try:
        options = parse(arguments, program)
        config = load_config(options.config, options.overrides)
        if options.print_config:
            print(to_yaml(config), end="")
            return 0
        from distgan.training.run import run  # torch and accelerate, seconds: not needed for --help

        run(config, options.resume)
    except KeyboardInterrupt:
        return _report(Stopped("stopped by SIGINT outside of training; nothing was lost", signal.SIGINT))
    except DistganError as error:
        return _report(error)
    return 0


def _report(error: DistganError) -> int:
    """Says it on stderr: an error that all ranks share on rank 0 only, one of a single rank with its name."""
    rank = os.environ.get("RANK", "0")
    if rank == "0" or not error.everywhere:
        print(f"{'' if rank == '0' else f'[rank {rank}] '}{error}", file=sys.stderr, flush=True)
    elif not isinstance(error, Stopped):
        _wait_for_rank_0()
    return error.exit_code


def _wait_for_rank_0() -> None:
    """A launcher ends all processes as soon as one has failed: rank 0 must come first, or nobody reports the error."""
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    ending.wait(RANK_0)


def _stop_before_training(_signum: int, _frame: object) -> None:
    raise Stopped("stopped by SIGTERM outside of training; nothing was lost", signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
