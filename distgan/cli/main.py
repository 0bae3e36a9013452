"""`distgan prepare | doctor | train | sample | export | evaluate | report`: thin, no logic."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import distgan
from distgan.utils import cpu
from distgan.utils.errors import DistganError

COMMANDS = {
    "prepare": "make a data set: tar shards and manifest.json",
    "doctor": "look at all that a training needs before it is launched",
    "train": "train in this process; `accelerate launch -m distgan.train` for several",
    "sample": "draw images from an exported generator",
    "export": "write a checkpoint's generator to one safetensors file",
    "evaluate": "say how far a generator's images are from real ones",
    "report": "write a run's page, RUN/report.html",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The console command. Returns the exit code (2: a mistake to mend, told in a sentence)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    cpu.spin_briefly()
    if arguments[:1] == ["train"]:
        from distgan import train

        return train.main(arguments[1:], "distgan train")
    if arguments[:1] == ["doctor"]:
        from distgan.doctor import command

        return command.main(arguments[1:], "distgan doctor")
    cpu.keep_freed_memory()
    parser = argparse.ArgumentParser(prog="distgan", description=distgan.__doc__)
    parser.add_argument("--version", action="version", version=f"distgan {distgan.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        chosen = commands.add_parser(name, help=text, description=text)
        if arguments[:1] == [name]:
            _module(name).add_arguments(chosen)
    options = parser.parse_args(arguments)
    try:
        return _module(options.command).run(options)
    except DistganError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _module(command: str):  # type: ignore[no-untyped-def]
    """The module behind a command, imported when it is asked for."""
    if command == "prepare":
        from distgan.cli import prepare

        return prepare
    if command == "sample":
        from distgan.cli import sample

        return sample
    if command == "evaluate":
        from distgan.cli import evaluate

        return evaluate
    if command == "report":
        from distgan.cli import report as report_command

        return report_command
    from distgan.cli import export

    return export
