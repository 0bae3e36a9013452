"""A package that does not come with distgan, written for one test: its import leaves a mark."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

import pytest

from distgan.config import registry

SOURCE = """
from pathlib import Path

import torch
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


class Blurred(Generator):
    # has a tensor that is in no file, as the blur kernels of StyleGAN2

    def __init__(self, settings, size, classes):
        super().__init__(settings, size, classes)
        self.register_buffer("kernel", torch.full((1, 3, 1, 1), 0.5), persistent=False)

    def forward(self, latents, labels=None):
        return super().forward(latents, labels) * self.kernel


class Gray(Generator):
    # makes as many channels as it is told

    def __init__(self, settings, size, classes, channels):
        super().__init__(settings, size, classes)
        self.channels = channels

    def forward(self, latents, labels=None):
        return super().forward(latents, labels)[:, : self.channels]


class Measured(Generator):
    # reads a number out of a tensor, which it cannot have without memory

    def __init__(self, settings, size, classes):
        super().__init__(settings, size, classes)
        self.scale = self.layers[0].weight.std().item()


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
