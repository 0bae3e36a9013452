"""`distgan completion`: what real shells make of a Tab. In them `distgan` is a function that shows its arguments."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time

import pytest

from distgan.cli import completion
from distgan.cli.main import COMMANDS, main
from distgan.config.help import key_helps

SHOW = "distgan() { printf '<%s>' \"$@\"; echo; }"
SHELLS = {  # how each is started, and what it is told first; the script is the file _distgan in the working directory
    "bash": (["bash", "--norc", "--noprofile", "-i"], ["source _distgan", SHOW]),
    "zsh": (
        ["zsh", "-f", "-i"],
        ["fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D", SHOW],
    ),
    "fish": (["fish", "--no-config", "-i"], ["source _distgan", "function distgan; printf '<%s>' $argv; echo; end"]),
}
IN_A_TERMINAL = "import pty, sys; pty.spawn(sys.argv[1:])"
MOST_SECONDS = 20.0  # to wait for what a Tab adds


class Terminal:
    """A shell in a terminal of its own."""

    def __init__(self, command, directory):
        env = {**os.environ, "TERM": "dumb", "HOME": str(directory), "PS1": "$ "}
        self.shell = subprocess.Popen(
            [sys.executable, "-c", IN_A_TERMINAL, *command],
            cwd=directory, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
        )  # fmt: skip
        self.screen = ""

    def type(self, keys, answer):
        """Types keys and waits until the shell has written an answer, or for a long time."""
        begin, end = len(self.screen), time.monotonic() + MOST_SECONDS
        self.shell.stdin.write(keys.encode())
        while answer not in self.screen[begin:] and (left := end - time.monotonic()) > 0:
            if select.select([self.shell.stdout], [], [], left)[0]:
                self.screen += os.read(self.shell.stdout.fileno(), 4096).decode(errors="replace")

    def close(self):
        self.shell.kill()
        self.shell.communicate()


@pytest.fixture
def terminal(tmp_path, capsys):
    """Starts a shell that has read the script."""
    opened = []

    def start(shell):
        if shutil.which(shell) is None:
            pytest.skip(f"needs {shell}")
        assert main(["completion", shell]) == 0
        (tmp_path / "shards").touch()
        (tmp_path / "_distgan").write_text(capsys.readouterr().out)
        command, told = SHELLS[shell]
        opened.append(Terminal(command, tmp_path))
        for line in told:
            opened[0].type(f"{line}\n", "")
        opened[0].type("echo rea''dy\n", "\nready\r\n")
        return opened[0]

    yield start
    for each in opened:
        each.close()


@pytest.mark.parametrize("shell", ["bash", *(pytest.param(name, marks=pytest.mark.slow) for name in ("zsh", "fish"))])
@pytest.mark.parametrize(
    "typed",
    [
        {"tr": "ain ", "--conf": "ig ", "cifar10_": "cpu ", "train.prec": "ision=", "b": "f16 "},
        {"doc": "tor ", "--qui": "ck ", "loss.nam": "e=", "rel": "ativistic ", "wandb.mode=on": "line "},
        {"prep": "are ", "cifar100 --lab": "els ", "coa": "rse "},
        {"eval": "uate ", "demo --da": "ta ", "sha": "rds "},
    ],
    ids=["recipe, key, value", "switch, registry", "source", "path"],
)
def test_a_tab_completes_commands_options_recipes_keys_and_values(terminal, shell, typed):
    window = terminal(shell)
    window.type("distgan ", "")
    for keys, added in typed.items():
        window.type(f"{keys}\t", added.strip())
    window.type("\n", ">\r\n")
    words = "".join(keys + added for keys, added in typed.items()).split()
    assert "".join(f"<{word}>" for word in words) in window.screen


def test_the_values_of_choices_and_switches_are_listed_those_of_numbers_and_paths_are_not():
    values = {each.key: each.values for each in key_helps()}
    assert values["train.precision"] == ("auto", "no", "fp16", "bf16")
    assert {"bce", "hinge", "wasserstein"} <= set(values["loss.name"])
    assert values["balance.enabled"] == ("true", "false")
    assert values["train.images"] == values["data.path"] == ()


def test_the_places_are_those_of_every_shell_and_of_the_help(capsys):
    assert completion.PLACES.keys() == SHELLS.keys()
    with pytest.raises(SystemExit):
        main(["completion", "--help"])
    shown = capsys.readouterr().out
    assert all(place in shown for place in completion.PLACES.values())
    assert "completion" in COMMANDS
