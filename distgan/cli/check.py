"""`distgan check NAME`: whether a network, loss, metric, ... of one's own keeps its contract."""

from __future__ import annotations

import argparse
import textwrap

from distgan.config import schema as schema  # fills the registries
from distgan.config.command_line import option_of
from distgan.config.registry import REGISTRIES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `distgan check`."""
    parser.add_argument(
        "name", nargs="?", metavar="NAME",
        help="package.module:Name, or a name that distgan knows; a kind, such as generator: its contract; nothing: all "
        "kinds and names",
    )  # fmt: skip
    parser.add_argument("options", nargs="*", metavar="KEY=VALUE", help="its settings, where the defaults do not do")
    parser.add_argument("--kind", choices=tuple(REGISTRIES), help="what it is, if it cannot be seen")
    parser.add_argument("--quick", action="store_true", help="leave out the trainings, which take half a minute")


def run(args: argparse.Namespace) -> int:
    """Prints a line for each part of the contract. Returns 0, or 2 if one is not kept. Raises ConfigError."""
    if args.name is None:
        print(list_of_names())
        return 0
    if args.name in REGISTRIES:
        print(contract_of(args.name))
        return 0
    from distgan.doctor.contracts import check_contract  # torch

    kind, kept = check_contract(args.name, args.kind, dict(map(option_of, args.options)), args.quick)
    print(f"{args.name} keeps the contract of its kind, {kind}" if kept else f"the contract: distgan check {kind}")
    return 0 if kept else 2


def list_of_names() -> str:
    """A line for each kind: its key, its names, its entry points."""
    rows = [(each.kind, each.key, each.group, ", ".join(each.names())) for each in REGISTRIES.values()]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f"{'  '.join(map(str.ljust, row[:3], widths))}  {row[3]}" for row in rows]
    return "\n".join([*lines, "or package.module:Name; `distgan check KIND` shows what one must be and do"])


def contract_of(kind: str) -> str:
    """The contract of a kind, wrapped."""
    registry = REGISTRIES[kind]
    text = textwrap.fill(" ".join(registry.contract.split()), 100)
    base = registry.settings_name
    return f"{kind}, chosen by {registry.key}; entry points: {registry.group}; Settings: a subclass of {base}\n\n{text}"
