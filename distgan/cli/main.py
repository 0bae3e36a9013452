"""The console command `distgan COMMAND ...`: finds the command's module and runs it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import NoReturn

import distgan
from distgan.config.command_line import Parser, check_values
from distgan.utils import cpu
from distgan.utils.background import leave
from distgan.utils.errors import ConfigError, DistganError
from distgan.utils.installed import describe_installation
from distgan.utils.log import check_stdout, guard_stdout, log, show_on_terminal
from distgan.utils.safe_io import printable
from distgan.utils.system import check_system

COMMANDS = {  # name: (module, help)
    "init": ("distgan.cli.init", "write a small project: recipe, launch scripts, README"),
    "prepare": ("distgan.cli.prepare", "make a data set: tar shards and manifest.json"),
    "doctor": ("distgan.doctor.__main__", "check everything that a training needs before it is launched"),
    "train": ("distgan.train", "train in this process; `accelerate launch -m distgan.train` for several"),
    "sample": ("distgan.cli.sample", "draw images from an exported generator"),
    "export": ("distgan.cli.export", "write a generator to one file: safetensors, or for programs without distgan"),
    "push": ("distgan.cli.push", "publish a generator on the Hugging Face Hub, with a card, a grid and a film"),
    "space": ("distgan.cli.space", "write a Space: a page with a generator, to run here or on the Hub"),
    "explore": ("distgan.cli.explore", "look around in a generator: a page on this machine, or one HTML file"),
    "evaluate": ("distgan.cli.evaluate", "measure how far a generator's images are from real ones"),
    "classifier": ("distgan.cli.classifier", "train a small classifier on real images, to judge generated ones by"),
    "check": ("distgan.cli.check", "check a network, loss, metric, ... of your own"),
    "report": ("distgan.cli.report", "write the page of a run or of several, or serve a live one"),
    "board": ("distgan.cli.board", "make W&B's page for a project's runs, or a report that compares runs"),
    "completion": ("distgan.cli.completion", "print a script that completes commands, options and keys in your shell"),
}
LAUNCHED = ("doctor", "train")  # also started by launchers, so they have a `main` of their own


class _Wide(argparse.HelpFormatter):
    """Has room for the longest command beside its help."""

    def add_arguments(self, actions: Iterable[argparse.Action]) -> None:
        super().add_arguments(actions)
        self._action_max_length = max(self._action_max_length, 4 + max(map(len, COMMANDS)))


class _Version(argparse.Action):
    """`--version`."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        guard_stdout()
        print("\n".join(describe_installation()))
        check_stdout()
        parser.exit()


def entry() -> NoReturn:
    """The console command, as a process."""
    leave(main)


def main(arguments: Sequence[str] | None = None) -> int:
    """The console command. Returns the exit code (2: a user error, reported in a sentence)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    show_on_terminal()
    cpu.spin_briefly()
    command = arguments[0] if arguments else ""
    try:
        check_system()
        if command in LAUNCHED:
            return int(import_module(COMMANDS[command][0]).main(arguments[1:], f"distgan {command}"))
        cpu.keep_freed_memory()
        options = parse(arguments, command)
        guard_stdout()
        code = int(import_module(COMMANDS[options.command][0]).run(options))
        check_stdout()
    except DistganError as error:
        log.error("%s", error)
        return error.exit_code
    except KeyboardInterrupt:
        log.info("interrupted")
        return 130
    return code


def parse(arguments: Sequence[str], command: str) -> argparse.Namespace:
    """Parses the arguments of a command; its module alone is imported. Raises ConfigError if there is none."""
    if command and not command.startswith("-") and command not in COMMANDS:
        near = get_close_matches(command, COMMANDS, n=1, cutoff=0)[0]
        raise ConfigError(f"distgan has no command '{printable(command)}'; nearest: distgan {near}")
    parser = build_parser({command})
    check_values(parser, arguments)
    if command == "prepare":
        arguments = import_module(COMMANDS[command][0]).with_kind(arguments)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        more = printable(" ".join(unknown))
        raise ConfigError(f"distgan {command} does not take {more}; `distgan {command} --help` has all that it takes")
    return options


def build_parser(complete: Collection[str]) -> argparse.ArgumentParser:
    """The parser of all commands. complete: commands whose modules are imported for their arguments."""
    parser = Parser(prog="distgan", description=distgan.__doc__, formatter_class=_Wide)
    parser.add_argument("--version", action=_Version, nargs=0, help="show the versions of distgan, Python, torch and "
                        "accelerate, and this machine's devices")  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, text) in COMMANDS.items():
        subparser = commands.add_parser(name, help=text, description=text)
        if name in complete:
            import_module(module).add_arguments(subparser)
    return parser
