"""A package that does not come with distgan, written for one test: its import leaves a mark."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

import pytest

from distgan.config import registry

SOURCE = """
from pathlib import Path

from pydantic import PositiveInt
from torch import nn

from distgan.extend import GeneratorSettings

Path(__file__).with_name("imported").touch()


class Generator(nn.Module):
    class Settings(GeneratorSettings):
        latent_dim: PositiveInt = 6
        width: PositiveInt = 4

    def __init__(self, settings, size, classes):
        super().__init__()
        first, last = nn.Linear(settings.latent_dim, settings.width), nn.Linear(settings.width, 3 * size**2)
        self.layers = nn.Sequential(first, last)
        self.size = size

    def forward(self, latents, labels=None):
        return self.layers(latents).tanh().unflatten(1, (3, self.size, self.size))


class Wrong:
    class Settings:
        pass
"""


class Package:
    """A package with a module `nets`, importable until the test ends."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.name = f"lab_{uuid.uuid4().hex[:8]}"
        self.directory = directory / self.name
        self.directory.mkdir(parents=True)
        (self.directory / "__init__.py").touch()
        (self.directory / "nets.py").write_text(SOURCE)
        self.module, self.generator = f"{self.name}.nets", f"{self.name}.nets:Generator"
        monkeypatch.syspath_prepend(str(directory))

    @property
    def imported(self) -> bool:
        """Whether anybody has run its code."""
        return (self.directory / "imported").exists()

    def forget(self) -> None:
        """As in a new process: nothing of it is imported, and nobody trusts it."""
        (self.directory / "imported").unlink(missing_ok=True)
        for name in [name for name in sys.modules if name.startswith(self.name)]:
            del sys.modules[name]
        for name in [name for name in registry.LOADED if name.startswith(self.name)]:
            del registry.LOADED[name]
