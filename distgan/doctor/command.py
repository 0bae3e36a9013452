"""The command: parse, examine, report. The same recipe and overrides as `distgan train`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from distgan.config.load import load_config
from distgan.utils import cpu
from distgan.utils.errors import DistganError, Stopped


def parse(arguments: Sequence[str] | None, program: str | None = None) -> argparse.Namespace:
    """--config, --json, --quick and the key=value overrides."""
    parser = argparse.ArgumentParser(
        prog=program or "python -m distgan.doctor",
        usage="%(prog)s [--config RECIPE] [--json] [--quick] [KEY=VALUE ...]",
        description=(
            "Look at everything that a training needs, before it is launched; nothing is changed. For several "
            "processes start it as the training: `accelerate launch ... -m distgan.doctor`, `torchrun ... -m "
            "distgan.doctor`. Exit code 2 where a line says FAIL."
        ),
        epilog="`distgan train --help` lists the keys.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", default="quickstart", metavar="RECIPE", help="a YAML file, or the name of one in configs/"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document in place of lines")
    parser.add_argument("--quick", action="store_true", help="without the checksums of all shards")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as in train.batch_size=64")
    known, rest = parser.parse_known_args(arguments)
    known.overrides = rest + known.overrides  # `load_config` says how an override is written
    return known


def main(arguments: Sequence[str] | None = None, program: str | None = None) -> int:
    """Returns the exit code: 0, or 2 where something failed; 130 or 143 after a signal."""
    cpu.spin_briefly()
    signal.signal(signal.SIGTERM, _stop)
    main_process = os.environ.get("RANK", "0") == "0"
    try:
        options = parse(arguments, program)
        config = load_config(options.config, options.overrides)
        from distgan.doctor.output import Report
        from distgan.doctor.runner import Doctor  # torch and accelerate, seconds: not needed for --help

        return Doctor(config, options.quick, Report(options.json, main_process)).run()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except DistganError as error:
        if main_process:
            print(error, file=sys.stderr)
        return error.exit_code


def _stop(_signum: int, _frame: object) -> None:
    raise Stopped("stopped by SIGTERM", signal.SIGTERM)
