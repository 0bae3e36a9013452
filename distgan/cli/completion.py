"""`distgan completion bash|zsh|fish`: a script for the shell, made by shtab from the parsers of all commands.

What it completes is fixed in the script: recipes, keys and their values are those of this installation. A Tab starts no
Python.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from shlex import quote

import shtab

from distgan.config.command_line import to_path, to_source
from distgan.config.help import key_helps
from distgan.config.recipes import recipe_names

PLACES = {  # what a new shell reads
    "bash": "distgan completion bash > ~/.local/share/bash-completion/completions/distgan",
    "zsh": "distgan completion zsh > ~/.zfunc/_distgan   (with fpath=(~/.zfunc $fpath) before compinit in ~/.zshrc)",
    "fish": "distgan completion fish > ~/.config/fish/completions/distgan.fish",
}
BASH_KEYS = """\
_distgan_values() {{
  case $1 in
    {cases}
  esac
}}
_distgan_keys() {{
  local word=$1 key=
  if [[ $word == = ]]; then
    key=${{COMP_WORDS[COMP_CWORD-1]}} word=
  elif [[ ${{COMP_WORDS[COMP_CWORD-1]}} == = ]]; then
    key=${{COMP_WORDS[COMP_CWORD-2]}}
  fi
  if [[ -n $key ]]; then
    compgen -W "$(_distgan_values "$key")" -- "$word"
  else
    compgen -W {keys} -- "$word"
  fi
}}
"""
PATHS = ("SHARDS", "DATA", "FILE", "WHAT")  # names, in the help, of paths that may be URLs or words
BASH_END = """

# no space after KEY=; file names where there is nothing else to offer
_distgan() {
  _shtab_distgan
  [[ ${COMPREPLY[0]-} != *= ]] || compopt -o nospace
}
complete -o bashdefault -o default -F _distgan distgan
"""
BASH_RECIPES = """\
_distgan_recipes() {{
  compgen -W {recipes} -- "$1"
  compgen -f -X '!*.y*ml' -- "$1"
}}
"""
ZSH_KEYS = """\
_distgan_keys() {{
  if compset -P 1 '*='; then
    case ${{IPREFIX%=}} in
      {cases}
      *) _files ;;
    esac
  else
    local -a keys=(
      {keys}
    )
    _describe -t keys key keys -S =
  fi
}}
"""
ZSH_RECIPES = """\
_distgan_recipes() {{
  compadd -- {recipes}
  _files -g '*.y(a|)ml'
}}
"""
FISH_KEYS = """\
function _distgan_keys
  if not string match -q -- '*=*' (commandline -ct)
    printf '%s\\t%s\\n' {keys}
  else
    printf '%s\\n' {values}
  end
end
"""
FISH_RECIPES = """\
function _distgan_recipes
  printf '%s\\n' {recipes}
  __fish_complete_suffix .yaml
end
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the argument of `distgan completion`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(["where a new shell finds it:", *(f"  {line}" for line in PLACES.values())])
    parser.add_argument("shell", choices=tuple(PLACES), help="your shell")


def run(args: argparse.Namespace) -> int:
    """Prints the script of a shell. Returns the exit code."""
    from distgan.cli.main import COMMANDS, build_parser  # which names this module

    parser = build_parser(COMMANDS)
    for action in _actions(parser):
        _say_what_completes(action)
    print(_finished(shtab.complete(parser, args.shell), args.shell))
    return 0


def _finished(script: str, shell: str) -> str:
    """Adds what shtab leaves out: in bash the end of KEY=, in zsh all but the first of repeated arguments."""
    if shell == "zsh":
        return script.replace('"(*)::', '"*:').replace('"(*):', '"*:')
    return script + BASH_END if shell == "bash" else script


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All arguments of a parser and of its sub-parsers."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                yield from _actions(subparser)


def _say_what_completes(action: argparse.Action) -> None:
    """Sets what shtab reads, `complete`, for an argument that is not a list of choices."""
    complete: Mapping[str, str | dict[str, str]]
    if action.dest == "overrides":
        complete = {"bash": "_distgan_keys", "zsh": "_distgan_keys", "fish": "(_distgan_keys)", "preamble": _keys()}
    elif action.dest == "config":
        names = {"bash": "_distgan_recipes", "zsh": "_distgan_recipes", "fish": "(_distgan_recipes)"}
        complete = {**names, "preamble": _recipes()}
    elif action.type in (to_path, to_source) or action.metavar in PATHS:
        complete = shtab.FILE
    else:
        return
    action.complete = complete  # type: ignore[attr-defined]


def _keys() -> dict[str, str]:
    """The functions that complete KEY=VALUE, for each shell."""
    found = key_helps()
    listed = [each for each in found if each.values]
    pairs = [f"{each.key}={value}" for each in listed for value in each.values]
    return {
        "bash": BASH_KEYS.format(
            cases="\n    ".join(f"{each.key}) echo {quote(' '.join(each.values))} ;;" for each in listed),
            keys=quote(" ".join(f"{each.key}=" for each in found)),
        ),
        "zsh": ZSH_KEYS.format(
            cases="\n      ".join(f"{each.key}) compadd -- {_words(each.values)} ;;" for each in listed),
            keys="\n      ".join(quote(f"{each.key}:{_first_sentence(each.meaning)}") for each in found),
        ),
        "fish": FISH_KEYS.format(
            keys=" ".join(f"{each.key}= {_fish(_first_sentence(each.meaning))}" for each in found), values=_words(pairs)
        ),
    }


def _recipes() -> dict[str, str]:
    """The functions that complete a recipe, for each shell."""
    names = recipe_names()
    return {
        "bash": BASH_RECIPES.format(recipes=quote(" ".join(names))),
        "zsh": ZSH_RECIPES.format(recipes=_words(names)),
        "fish": FISH_RECIPES.format(recipes=_words(names)),
    }


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].partition("; ")[0].removesuffix(".")


def _words(words: list[str] | tuple[str, ...]) -> str:
    return " ".join(map(quote, words))


def _fish(text: str) -> str:
    """Text in single quotes, in which fish knows two escapes."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
