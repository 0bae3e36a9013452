"""Pages of the site that are made from the code: keys, commands, recipes and the Python interface. None is committed.

Also the version, which stands beside the site's name.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib import import_module
from itertools import groupby
from typing import TYPE_CHECKING

import distgan
from distgan import extend
from distgan.cli.main import COMMANDS, LAUNCHED, build_parser
from distgan.config.help import KeyHelp, key_helps
from distgan.config.recipes import RECIPES

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

HIDDEN_SOURCE = "outside"  # `distgan prepare` puts it before package.module:Name by itself
NO_OPTIONS = (argparse._HelpAction, argparse._SubParsersAction)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts the version beside the name, where each page shows it."""
    config.site_name = f"distgan {distgan.__version__}"
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages."""
    from mkdocs.structure.files import File

    pages = {"configuration": configuration(), "commands": commands(), "recipes": recipes(), "python": interface()}
    for name, text in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def configuration() -> str:
    """Every key, in a table for each section."""
    parts = [
        "# Configuration keys",
        "Each key may stand in a recipe's YAML, or on the command line as `KEY=VALUE`. Below a key stand its rule and, "
        "after *default*, its value where a recipe says nothing (several: of several variants). *free*: a resumed run "
        "may change it ([Exact resume](../exact_resume.md)). `distgan train --help` prints the same.",
    ]
    for section, keys in groupby(key_helps(), lambda each: each.key.partition(".")[0]):
        parts += [f"## {section}", "\n".join(["| key | meaning |", "| --- | --- |", *map(key_row, keys)])]
    return "\n\n".join(parts)


def key_row(each: KeyHelp) -> str:
    """The key with a place that a link can name, its meaning, and in small letters rule and default."""
    default = "required" if each.default == "required" else f"default {code(each.default)}"
    small = " · ".join([code(each.rule), default, *(["free"] if each.free else [])])
    place = f'<span id="{each.key}"></span>' if "." in each.key else ""  # else it is the section's
    return f"| {place}`{each.key}` | {prose(each.meaning)}<br><small>{small}</small> |"


def commands() -> str:
    """Every command with its options."""
    rows = [f"| [`{name}`](#{name}) | {prose(text)} |" for name, (_, text) in COMMANDS.items()]
    parts = [
        "# Commands",
        "`distgan COMMAND --help` prints the same; `python -m distgan` is `distgan`.",
        "\n".join(["| command | |", "| --- | --- |", *rows]),
    ]
    for name, (_, text) in COMMANDS.items():
        parser = parser_of(name)
        parts += [f"## {name}", prose(parser.description or text), *usage_and_options(parser)]
        for source, each in sub_parsers(parser):
            if source != HIDDEN_SOURCE:
                parts += [f"### {name} {source}", *usage_and_options(each)]
    return "\n\n".join(parts)


def parser_of(command: str) -> argparse.ArgumentParser:
    if command in LAUNCHED:
        return import_module(COMMANDS[command][0]).build_parser(f"distgan {command}")
    return dict(sub_parsers(build_parser({command})))[command]


def sub_parsers(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def usage_and_options(parser: argparse.ArgumentParser) -> list[str]:
    """A usage line and a table; of a command that only chooses another one, the usage line."""
    formatter = argparse.HelpFormatter(parser.prog, width=84)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups, prefix="")
    usage = f"```text\n{formatter.format_help().strip()}\n```"
    rows = [option_row(parser, each) for each in parser._actions if not isinstance(each, NO_OPTIONS)]
    return [usage, "\n".join(["| option | meaning |", "| --- | --- |", *rows])] if rows else [usage]


def option_row(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """An option with its value, or the name of a positional argument; then its help."""
    formatter = argparse.HelpFormatter(parser.prog)
    if action.option_strings:
        name = formatter._format_action_invocation(action)
    else:
        name = formatter._metavar_formatter(action, action.dest)(1)[0]
    return f"| {code(name)} | {prose(formatter._expand_help(action) if action.help else '')} |"


def recipes() -> str:
    """The file of every recipe. Its keys are found on the page of the keys, not here."""
    parts = [
        "---\nsearch:\n  exclude: true\n---\n# Recipes' files",
        "What stands behind `--config NAME`. [Recipes](../recipes.md) compares them; `distgan train --config NAME "
        "--print-config` prints one with every default.",
    ]
    for path in sorted(RECIPES.glob("*.yaml")):
        parts += [f"## {path.stem}", f"~~~~~ yaml\n{path.read_text().rstrip()}\n~~~~~"]
    return "\n\n".join(parts)


def interface() -> str:
    """What `distgan` and `distgan.extend` export; mkdocstrings fills in the docstrings."""
    parts = ["# Python interface", "[From Python](../python.md) shows how the calls go together."]
    parts += ["## distgan", *(f"::: distgan.{name}" for name in distgan.__all__)]
    parts += ["## distgan.extend", "For networks, losses, data sources, ... of your own: [Extending](../extending.md)."]
    parts += [f"::: distgan.extend.{name}" for name in extend.__all__]
    return "\n\n".join(parts)


def prose(text: str) -> str:
    """A help text in a table's cell: what stands between backticks stays code, all else is plain text."""
    parts = " ".join(text.split()).split("`")
    if len(parts) % 2 == 0:  # a backtick has no partner
        return plain("`".join(parts))
    return "".join(code(part) if index % 2 else plain(part) for index, part in enumerate(parts))


def plain(text: str) -> str:
    for sign in "\\*_[]{}`":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("<", "&lt;").replace(">", "&gt;").replace("|", "&#124;")


def code(text: str) -> str:
    """Text as code in a table's cell, which `|` would end."""
    return f"`{text}`".replace("|", "\\|")
