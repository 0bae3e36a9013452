"""distgan as a user has it: built as a wheel and installed in an environment of its own, far from the repository.

The environment has distgan's own files only. The libraries are those of the tests, by a line in a `.pth` file: that
takes seconds and no network.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import NamedTuple

from tests.support.processes import ROOT, environment

SECONDS = 240.0  # for one command


class Installed(NamedTuple):
    """An environment in which the wheel is installed."""

    wheel: Path
    bin: Path

    def run(self, directory: Path, *command: str, **env: str) -> tuple[int, str]:
        """Exit code and all output of a program of the environment, such as `distgan`, in a directory."""
        return _run([str(self.bin / command[0]), *command[1:]], directory, PATH=self._path, **env)

    def bash(self, directory: Path, script: str, **env: str) -> tuple[int, str]:
        """Exit code and all output of lines of bash, with the environment active; the first that fails ends them."""
        return _run(["bash", "-eo", "pipefail", "-c", script], directory, PATH=self._path, **env)

    @property
    def _path(self) -> str:
        return f"{self.bin}{os.pathsep}{os.environ['PATH']}"


def build(target: str, directory: Path, source: Path = ROOT) -> Path:
    """Builds "wheel" or "sdist" of the source into a directory. Raises AssertionError."""
    code, out = _run([sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(directory)], source)
    assert code == 0, out
    (file,) = directory.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return file


def install(directory: Path) -> Installed:
    """Builds the wheel from this checkout and installs it below a directory. Raises AssertionError."""
    wheel = build("wheel", directory)
    home = directory / "environment"
    venv.create(home, symlinks=True)
    libraries = sysconfig.get_path("purelib", vars={"base": str(home)})
    Path(libraries, "of_the_tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    code, out = _run([*pip, str(wheel)], directory)
    assert code == 0, out
    accelerate = home / "bin" / "accelerate"  # as pip writes it
    accelerate.write_text(f"#!{python}\nfrom accelerate.commands.accelerate_cli import main\n\nmain()\n")
    accelerate.chmod(0o755)
    return Installed(wheel, home / "bin")


def _run(command: list[str], directory: Path, **more: str) -> tuple[int, str]:
    env = environment(**more)
    if "hatchling" not in command:
        env.pop("PYTHONPATH", None)  # it may name the checkout
    done = subprocess.run(
        command, cwd=directory, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS
    )
    return done.returncode, done.stdout.decode()
